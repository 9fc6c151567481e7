"""Internal events that only Headrace may write, made up by somebody who may write to its topics."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from random import Random

import msgspec

from streams import events, topics
from streams.erasure import Subject, digest_of

#: Stands in everything that is forged: nothing that a victim reads may hold it.
MARK = "FORGED-BY-A-PRODUCER"


class Victim(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the forgeries name.

    Attributes:
        webhook: the URL that forged notifications ask for.
        request_ids: real requests of theirs.
    """

    tenant: str
    user_id: str
    webhook: str
    request_ids: Sequence[str] = ()


class Forger:
    """Makes events of another tenant's.

    Args:
        victim: whose.
        chance: draws the ids.
    """

    def __init__(self, victim: Victim, chance: Random) -> None:
        self._victim = victim
        self._chance = chance

    def any_event(self) -> tuple[topics.Topic, bytes, events.Event]:
        """Return a forged event with its topic and key: of a real request, or of one that never was."""
        made_up = f"forged-{self._chance.getrandbits(48):x}"
        request_id = self._chance.choice([*self._victim.request_ids, made_up])
        return self._chance.choice(list(self.about(request_id)))

    def about(self, request_id: str) -> Iterator[tuple[topics.Topic, bytes, events.Event]]:
        """Yield one forged event for each internal topic, all of them about one request."""
        key = request_id.encode()
        envelope, completion, reply = self._envelope(request_id), _completion(), _reply(request_id)
        messages = (events.Message(role="user", content=MARK),)
        yield topics.GUARDED, key, events.RequestGuarded(envelope=envelope)
        yield (
            topics.MISSES,
            key,
            events.CacheMissed(
                envelope=envelope, messages=messages, default_model="gpt-4o", max_output_tokens=16
            ),
        )
        yield (
            topics.COMPLETIONS,
            key,
            events.Completed(envelope=envelope, messages=messages, completion=completion),
        )
        yield (
            topics.OUTCOMES,
            key,
            events.OutcomeReached(envelope=envelope, status=events.Status.ANSWERED, completion=completion),
        )
        yield topics.DELTAS, key, events.Delta(request_id=request_id, attempt=9, seq=0, text=MARK)
        yield topics.REPLIES, key, reply
        yield topics.LOGS, key, self._log(request_id)
        yield topics.LEDGER, f"{self._victim.tenant}:{self._victim.user_id}".encode(), self._entry(request_id)
        yield (
            topics.WEBHOOKS,
            key,
            events.WebhookDue(
                request_id=request_id, tenant=self._victim.tenant, url=self._victim.webhook, reply=reply
            ),
        )
        erasure = self._erasure()
        yield topics.ERASURES, erasure.digest.encode(), erasure
        yield topics.ALERTS, b"cost:above:" + self._victim.tenant.encode(), self._alert()
        yield topics.DEAD_LETTER_ACTIONS, b"0:0", self._action(request_id)
        yield topics.CONTROL, f"key:{MARK}".encode(), self._key_of_the_victim()

    def _envelope(self, request_id: str) -> events.Envelope:
        now = datetime.now(UTC)
        request = events.ChatRequested(
            user_id=self._victim.user_id,
            tenant=self._victim.tenant,
            request_id=request_id,
            query=MARK,
            webhook=events.Webhook(url=self._victim.webhook),
        )
        return events.Envelope(
            request_id=request_id,
            tenant=self._victim.tenant,
            user_id=self._victim.user_id,
            tier="standard",
            accepted_at=now,
            deadline_at=now + timedelta(minutes=1),
            request=request,
            reply_to=events.ReplyAddress(topic=topics.REPLIES.name, correlation_id=MARK.encode()),
        )

    def _log(self, request_id: str) -> events.RequestLog:
        now = datetime.now(UTC)
        return events.RequestLog(
            request_id=request_id,
            tenant=self._victim.tenant,
            user_id=self._victim.user_id,
            tier="standard",
            accepted_at=now,
            finished_at=now,
            status=events.Status.ANSWERED,
            latency_ms=1.0,
            model=MARK,
            cost_usd=Decimal(1_000),
            error=MARK,
            payload=events.Payload(request_text=MARK, reply_text=MARK),
        )

    def _entry(self, request_id: str) -> events.LedgerEntry:
        return events.LedgerEntry(
            entry_id=f"{MARK}:{request_id}",
            request_id=request_id,
            tenant=self._victim.tenant,
            user_id=self._victim.user_id,
            kind="settle",
            amount_usd=Decimal(1_000),
            booked_at=datetime.now(UTC),
        )

    def _key_of_the_victim(self) -> events.ControlRecord:
        """Return an API key of the victim's that the forger knows."""
        spec = {
            "sha256": sha256(MARK.encode()).hexdigest(),
            "tenant": self._victim.tenant,
            "tier": "unlimited",
        }
        return events.ControlRecord(
            kind="key", name=MARK, version=1, spec=spec, author=MARK, at=datetime.now(UTC)
        )

    def _erasure(self) -> events.Erasure:
        salt = f"{self._chance.getrandbits(128):032x}"
        return events.Erasure(
            digest=digest_of(Subject(self._victim.tenant, self._victim.user_id), salt),
            salt=salt,
            tenant=self._victim.tenant,
            mode="delete",
            pseudonym=MARK,
            until=datetime.now(UTC) + timedelta(days=1),
        )

    def _alert(self) -> events.AlertRaised:
        now = datetime.now(UTC)
        return events.AlertRaised(
            alert_id=f"{MARK}-{self._chance.getrandbits(32):x}",
            rule="cost",
            state="raised",
            severity="critical",
            direction="above",
            observed=1e9,
            expected=0.0,
            unit="usd",
            method=MARK,
            message=MARK,
            window_since=now - timedelta(hours=1),
            window_until=now,
            began_at=now,
            at=now,
            tenant=self._victim.tenant,
        )

    def _action(self, request_id: str) -> events.DeadLetterAction:
        return events.DeadLetterAction(
            dead_letter="0:0",
            action="discarded",
            by=MARK,
            at=datetime.now(UTC),
            request_id=request_id,
            topic=topics.REQUESTS.name,
        )


def _completion() -> events.Completion:
    return events.Completion(content=MARK, model="gpt-4o", finish_reason="stop", usage=events.Usage())


def _reply(request_id: str) -> events.Reply:
    return events.Reply(
        request_id=request_id, status=events.Status.ANSWERED, content=MARK, cost_usd=Decimal(1_000), attempt=9
    )
