"""Feedback on answers: checked against the request that it is about, and published.

The registry knows a tenant's requests from acceptance on, for a day (`HEADRACE_REGISTRY_TTL_S`); ClickHouse
knows them from their end on, for 13 months. ClickHouse is asked about what the registry does not know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from ingest.admin.spend import ClickHouseSpend
from streams.codec import event_headers
from streams.errors import StoreUnavailable
from streams.events import (
    FeedbackGiven,
    RequestId,
    ScoreComment,
    ScoreId,
    ScoreLabel,
    ScoreName,
    Scorer,
    ScoreSource,
)
from streams.publisher import Emit, Publisher
from streams.registry.registry import RequestRegistry
from streams.request_rules.feedback import score_id_of, value_of
from streams.serving.errors import not_found
from streams.topics import FEEDBACK

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/feedback` takes: a `value`, a label that stands for one, or both."""

    request_id: RequestId
    name: ScoreName = "thumbs"
    value: Decimal | None = None
    label: ScoreLabel = ""
    comment: ScoreComment = ""
    source: ScoreSource = "user"
    scorer: Scorer = ""
    score_id: ScoreId | None = None


@dataclass(eq=False)
class FeedbackSubmission:
    """Checks and publishes feedback."""

    registry: RequestRegistry
    stored: ClickHouseSpend
    publisher: Publisher
    source: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def give(self, body: FeedbackBody, *, tenant: str, traceparent: str) -> FeedbackGiven:
        """Return the feedback once the broker has it.

        Raises `InvalidRequest` where it has no value, a 404 where the tenant has no such request, and
        `TransientFault` where Kafka, or a store that must be asked about the request, does not answer.
        """
        value = value_of(value=body.value, label=body.label)
        accepted_at = await self._accepted_at(body.request_id, tenant)
        at = self.clock()
        given = {name: getattr(body, name) for name in body.__struct_fields__}
        feedback = FeedbackGiven(
            **given | {"value": value}, tenant=tenant, scored_at=at, accepted_at=accepted_at
        )
        headers = event_headers(
            feedback,
            event_id=f"{feedback.request_id}:{score_id_of(feedback)}:{(at - _EPOCH) // _MICROSECOND}",
            source=self.source,
            at=at,
            traceparent=traceparent,
        )
        await self.publisher.publish(Emit.to(FEEDBACK, feedback, key=feedback.request_id, headers=headers))
        return feedback

    async def _accepted_at(self, request_id: str, tenant: str) -> datetime | None:
        """Return when the request was accepted; None while only the stages know."""
        unavailable: StoreUnavailable | None = None
        try:
            (state,) = await self.registry.find_many([request_id])  # `find` fetches vectors, too
        except StoreUnavailable as fault:
            state, unavailable = None, fault
        # An entry of another tenant means nothing: once forgotten, an id may be used again by anybody.
        if state is not None and state.tenant == tenant:
            return state.reply.accepted_at if state.reply else None
        accepted_at = await self.stored.accepted_at(tenant, request_id)
        if accepted_at is None and unavailable is not None:
            raise unavailable
        if accepted_at is None:
            # The same error if it is another tenant's: that it exists is not the caller's business.
            raise not_found(
                "no such request: it was never accepted, or so long ago that nothing of it is kept",
                code="request_not_found",
                param="request_id",
            )
        return accepted_at
