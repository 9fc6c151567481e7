"""From a checked request to a record on its topic: registered first, then published.

If its client leaves, a request with `on_disconnect` = `continue` goes on, and its reply can be fetched later.
With `cancel` the stages end it, and stop a provider call that runs.
"""

import asyncio
import os
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog

from ingest.errors import as_repeat, too_many_repeats
from ingest.follow.reply_hub import ReplyHub, ReplyListener
from ingest.submit.http_message import OnDisconnect
from ingest.submit.identification import SdkCall, key_of_another_body
from streams.backoff import Backoff, retry
from streams.codec import event_headers
from streams.control.catalogue import ModelCatalogue
from streams.errors import KafkaUnavailable, StoreDenied, StoreFull, StoreUnavailable
from streams.events import ChatRequested, EmbeddingsRequested, Reply, ReplyAddress, Requested
from streams.publisher import Emit, Publisher
from streams.registry.entries import CLIENT_DISCONNECTED
from streams.registry.registry import RequestRegistry, SubmissionState, correlation_origin, fingerprint
from streams.request_rules.chat import check_chat
from streams.serving.api_keys import Caller
from streams.settings import Settings
from streams.tasks import DetachedTasks
from streams.topics import EMBEDDINGS, REPLIES, REQUESTS

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CORRELATION_BYTES = 16
#: The wait before a command to Redis is tried once more.
_BACKOFF = Backoff(first_s=0.05)
#: How long a client that retries by itself is waited for. SDKs wait half a second before their first retry, a
#: second before the next, and then wait for the same request again.
RETRY_GRACE_S = 3.0


class PreparedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request, and whose it is."""

    request: Requested  # tenant, tier, accepted_at and request_id are filled in on submission
    caller: Caller
    request_id: str
    deadline_ms: int
    traceparent: str
    on_disconnect: OnDisconnect = "continue"
    body: str | None = None  # the `fingerprint`, where it was computed already
    call: SdkCall | None = None  # where there is no `Idempotency-Key`


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request. `reply` is there if it was answered before."""

    state: SubmissionState
    reply: Reply | None = None

    @property
    def is_repeat(self) -> bool:
        """Whether its reply is, or will be, marked as a repeat."""
        return self.reply is not None or self.state is SubmissionState.JOINED


@dataclass(eq=False)
class Submissions:
    """Registers and publishes requests."""

    registry: RequestRegistry
    publisher: Publisher
    hub: ReplyHub
    partitions: Sequence[int]  # the reply partitions that this replica reads
    source: str  # names it in the headers of records

    async def submit(self, prepared: PreparedRequest, *, followed: bool = True) -> Submitted:
        """Accept a request that nobody waits for; `followed`: somebody may want to follow it later.

        Raises `ApiError`: 409, the id stands for another body; 429, too many wait for its reply;
        `KafkaUnavailable`; `StoreUnavailable` where Redis does not answer, or is nearly full.
        """
        if followed:
            self.hub.track(prepared.request_id)
        return await self._submit(prepared, self._address(prepared.request_id))

    async def submit_and_listen(self, prepared: PreparedRequest) -> tuple[Submitted, ReplyListener]:
        """Accept a request; return the listener for its reply, to be closed. Raises as `submit`, `listen`."""
        address = self._address(prepared.request_id)
        listener = self.hub.listen(prepared.request_id, correlation_id=address.correlation_id)
        try:
            submitted = await self._submit(prepared, address)
        except BaseException:
            listener.close()
            raise
        if submitted.reply is not None:
            listener.resolve(submitted.reply)
        return submitted, listener

    def _address(self, request_id: str) -> ReplyAddress:
        index = zlib.crc32(request_id.encode()) % len(self.partitions)
        return ReplyAddress(
            topic=REPLIES.name,
            partition=self.partitions[index],
            correlation_id=os.urandom(_CORRELATION_BYTES),
        )

    async def _submit(self, prepared: PreparedRequest, address: ReplyAddress) -> Submitted:
        request = msgspec.structs.replace(
            prepared.request,
            request_id=prepared.request_id,
            tenant=prepared.caller.tenant,
            tier=prepared.caller.tier,
            accepted_at=datetime.now(UTC),
            deadline_ms=prepared.deadline_ms,
            on_disconnect=prepared.on_disconnect,
        )
        origin = correlation_origin(address.correlation_id or b"")
        body = prepared.body or fingerprint(request, prepared.caller.tenant)
        found = await with_second_try(
            lambda: self.registry.register(
                prepared.request_id,
                tenant=prepared.caller.tenant,
                body=body,
                origin=origin,
                running=False,
                reply_to=address,
            )
        )
        match found.state:
            case SubmissionState.CONFLICT | SubmissionState.IMPOSTER:
                raise key_of_another_body()
            case SubmissionState.CROWDED:
                raise too_many_repeats()
            case SubmissionState.NEW | SubmissionState.SAME:
                # The same: the first try was made, and its answer was lost. In both cases the request was
                # tracked before any stage could begin to work on it.
                self.hub.mark_complete(prepared.request_id)
                await self._publish(request, prepared, origin, address)
            case SubmissionState.PENDING:
                await self._publish(request, prepared, origin, address)
            case SubmissionState.SETTLED | SubmissionState.DONE if found.reply:
                return Submitted(state=found.state, reply=as_repeat(found.reply))
        return Submitted(state=found.state)

    async def _publish(
        self, request: Requested, prepared: PreparedRequest, origin: str, address: ReplyAddress
    ) -> None:
        headers = event_headers(
            request,
            event_id=prepared.request_id,
            source=self.source,
            at=request.accepted_at,
            traceparent=prepared.traceparent,
        )
        headers += reply_headers(address)
        topic = EMBEDDINGS if isinstance(request, EmbeddingsRequested) else REQUESTS
        try:
            await self.publisher.publish(Emit.to(topic, request, key=prepared.request_id, headers=headers))
        except KafkaUnavailable:
            try:
                await self.registry.abandon(prepared.request_id, origin=origin)
            except StoreUnavailable as fault:
                # The entry stays pending: the same request, sent again, is published again.
                log.warning("submission.abandon_failed", request_id=prepared.request_id, error=str(fault))
            raise


async def with_second_try(step: Callable[[], Awaitable[T]]) -> T:
    """Return what `step` returns, tried once more if Redis does not answer in time.

    On a busy machine a command runs into its time-out although Redis has answered it: this process had no
    processor for so long. A second failure means an outage, which the client should hear of. `step` may be
    done twice: every script of the registry may.
    """
    return await retry(step, on=StoreUnavailable, attempts=2, backoff=_BACKOFF, on_failure=_note)


def _note(failures: int, fault: StoreUnavailable) -> None:
    if isinstance(fault, StoreFull | StoreDenied):
        raise fault
    log.warning("registry.tried_again", failures=failures, error=str(fault))


def reply_headers(address: ReplyAddress) -> list[tuple[str, bytes]]:
    """Return the request–reply headers as Spring's `ReplyingKafkaTemplate` writes them."""
    return [
        ("kafka_correlationId", address.correlation_id or b""),
        ("kafka_replyTopic", address.topic.encode()),
        ("kafka_replyPartition", (address.partition or 0).to_bytes(4, "big")),
    ]


def check_request(request: ChatRequested, settings: Settings, catalogue: ModelCatalogue) -> None:
    """Check a request by the rules of this installation; `InvalidRequest` names the first fault.

    Of a webhook only the URL is checked; its address is resolved and checked at each delivery.
    """
    check_chat(
        request,
        catalogue,
        max_tokens_per_request=settings.max_tokens_per_request,
        extra_parameters=settings.extra_parameters,
    )
    if request.webhook is not None:
        settings.webhook_targets.check_url(request.webhook.url)


class ClientDisconnects:
    """Cancels abandoned requests, beside the HTTP requests that end; each within `timeout_s`."""

    def __init__(
        self, registry: RequestRegistry, *, timeout_s: float, retry_grace_s: float = RETRY_GRACE_S
    ) -> None:
        self._registry = registry
        self._retry_grace_s = retry_grace_s
        self._closing = asyncio.Event()
        self._tasks = DetachedTasks(timeout_s=timeout_s)

    def client_left(self, prepared: PreparedRequest, *, may_come_back: bool = False) -> None:
        """Note that a client has left before its answer was there. Returns at once."""
        if prepared.on_disconnect != "cancel":
            log.info("client_disconnect.goes_on", request_id=prepared.request_id)
        elif not self._tasks.start(self._cancel(prepared, self._retry_grace_s if may_come_back else 0.0)):
            log.warning(
                "client_disconnect.not_cancelled", request_id=prepared.request_id, reason="too many at once"
            )

    async def close(self) -> None:
        """Wait for the cancellations under way."""
        self._closing.set()
        await self._tasks.close()

    async def _cancel(self, prepared: PreparedRequest, after_s: float) -> None:
        with suppress(TimeoutError):
            if after_s:
                await asyncio.wait_for(self._closing.wait(), after_s)
        try:
            async with asyncio.timeout(self._tasks.timeout_s):
                answer = await self._registry.cancel(
                    prepared.request_id,
                    tenant=prepared.caller.tenant,
                    reason=CLIENT_DISCONNECTED,
                    only_alone=True,
                )
        except (StoreUnavailable, TimeoutError) as fault:
            # The answer is then produced and booked for nobody; it can still be fetched.
            log.warning("client_disconnect.not_cancelled", request_id=prepared.request_id, reason=str(fault))
        else:
            log.info("client_disconnect.cancel", request_id=prepared.request_id, answer=answer.value)
