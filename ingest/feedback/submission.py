"""Feedback on answers: checked against the request that it is about, and published.

Which requests a tenant has sent is known in two places. The registry knows each from the moment that it was
accepted, for a day (`HEADRACE_REGISTRY_TTL_S`); ClickHouse from the moment that it ended, for 13 months. So
what the one does not know, the other is asked.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

import msgspec
import structlog

from ingest.errors import invalid, not_found, outage
from ingest.ports import Publishing
from streams.codec import event_headers
from streams.errors import ClickHouseUnavailable, InvalidRequest, KafkaUnavailable, StoreUnavailable
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
from streams.publisher import Emit
from streams.registry.registry import RequestState
from streams.request_rules.feedback import score_id_of, value_of
from streams.topics import FEEDBACK

log = structlog.get_logger(__name__)

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


class Standings(Protocol):
    """Where requests stand: `streams.registry.registry.RequestRegistry`."""

    async def find_many(self, request_ids: Sequence[str]) -> list[RequestState | None]:
        """Return where each request stands, None if it is unknown; raises `StoreUnavailable`."""
        ...


class StoredRequests(Protocol):
    """Requests that have ended: `ingest.admin.spend.ClickHouseSpend`."""

    async def accepted_at(self, tenant: str, request_id: str) -> datetime | None:
        """Return when a request was accepted; None where the tenant has none. `ClickHouseUnavailable`."""
        ...


class FeedbackDesk:
    """Takes feedback.

    Args:
        registry: where requests stand.
        stored: requests that have ended.
        publisher: the way to the topic.
        source: the `ce_source` of what is published.
        clock: the time at which feedback is given.
    """

    def __init__(
        self,
        registry: Standings,
        stored: StoredRequests,
        publisher: Publishing,
        *,
        source: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = registry
        self._stored = stored
        self._publisher = publisher
        self._source = source
        self._clock = clock

    async def give(self, body: FeedbackBody, *, tenant: str, traceparent: str) -> FeedbackGiven:
        """Return the feedback once the broker has it.

        Raises:
            ApiError: 400, it says no value; 404, the tenant has no such request; 503, whom it takes to know
                that, or Kafka, does not answer.
        """
        try:
            value = value_of(value=body.value, label=body.label)
        except InvalidRequest as fault:
            raise invalid(fault.message, param=fault.param) from None
        accepted_at = await self._accepted_at(body.request_id, tenant)
        at = self._clock()
        given = {name: getattr(body, name) for name in body.__struct_fields__}
        feedback = FeedbackGiven(
            **given | {"value": value},
            tenant=tenant,
            scored_at=at,
            accepted_at=accepted_at,
        )
        await self._publish(feedback, at, traceparent)
        return feedback

    async def _accepted_at(self, request_id: str, tenant: str) -> datetime | None:
        """Return when the request was accepted; None while only the stages know.

        Raises:
            ApiError: as `give`.
        """
        away: StoreUnavailable | None = None
        try:
            (state,) = await self._registry.find_many([request_id])  # `find` fetches vectors, too
        except StoreUnavailable as fault:
            state, away = None, fault
        # Another tenant's entry says nothing: once forgotten, an id may be used again by anybody.
        if state is not None and state.tenant == tenant:
            return state.reply.accepted_at if state.reply else None
        try:
            accepted_at = await self._stored.accepted_at(tenant, request_id)
        except ClickHouseUnavailable as fault:
            raise outage(fault, "the store of requests") from fault
        if accepted_at is None and away is not None:
            raise outage(away, "the request registry") from away
        if accepted_at is None:
            # The same words where it is another tenant's: that it exists is not the caller's business.
            raise not_found(
                "no such request: it was never accepted, or so long ago that nothing of it is kept",
                code="request_not_found",
                param="request_id",
            )
        return accepted_at

    async def _publish(self, feedback: FeedbackGiven, at: datetime, traceparent: str) -> None:
        headers = event_headers(
            feedback,
            event_id=f"{feedback.request_id}:{score_id_of(feedback)}:{(at - _EPOCH) // _MICROSECOND}",
            source=self._source,
            at=at,
            traceparent=traceparent,
        )
        try:
            await self._publisher.publish(
                Emit.to(FEEDBACK, feedback, key=feedback.request_id, headers=headers)
            )
        except KafkaUnavailable as fault:
            log.warning("feedback.publish_failed", request_id=feedback.request_id, error=str(fault))
            raise outage(fault, "Kafka") from fault
