"""The runs of an idempotency key, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from streams.events import ErrorInfo, Reply, ReplyAddress, Status
from streams.redis import connection
from streams.registry.registry import RequestRegistry, SubmissionState
from streams.registry.runs import RequestRuns, may_run_anew

UNAVAILABLE = ErrorInfo(type="unavailable_error", code="dependency_unavailable", message="away")
MISTAKE = ErrorInfo(type="invalid_request_error", code="context_length_exceeded", message="too long")
CANCELLED = ErrorInfo(type="invalid_request_error", code="request_cancelled", message="cancelled")


@pytest.mark.parametrize(
    ("reply", "anew"),
    [
        ({"status": Status.DEGRADED, "content": "I apologize"}, True),
        ({"status": Status.FAILED, "error": UNAVAILABLE}, True),
        ({"status": Status.FAILED}, True),
        ({"status": Status.CANCELLED, "error": CANCELLED}, True),
        ({"status": Status.FAILED, "error": UNAVAILABLE, "cost_usd": Decimal("0.000000001")}, False),
        ({"status": Status.DEGRADED, "cost_usd": Decimal(1)}, False),
        ({"status": Status.CANCELLED, "cost_usd": Decimal(1)}, False),
        ({"status": Status.FAILED, "error": MISTAKE}, False),
        ({"status": Status.BLOCKED}, False),
        ({"status": Status.ANSWERED}, False),
        ({"status": Status.CACHED}, False),
    ],
)
def test_what_may_run_anew(reply: dict[str, Any], anew: bool) -> None:
    """What has no answer, cost nothing, and is not the sender's to mend: a judgement stands."""
    assert may_run_anew(Reply(request_id="r", **reply)) is anew


class Key:
    """A key with its runs, as ingest and the cost stage treat them."""

    def __init__(self, redis: Redis) -> None:
        self.registry = RequestRegistry(redis, ttl_s=600)
        self.runs = RequestRuns(redis, ttl_s=600)
        self.name = uuid4().hex

    @property
    def id_of_run(self) -> Callable[[int], str]:
        return lambda run: f"{self.name}-{run}"

    async def send(self, body: str = "body") -> str | None:
        """Submit, and return the run that it became, as ``<run>:<standing>``."""
        request_id = await self.runs.newest(self.id_of_run, body=body)
        if request_id is None:
            return None
        found = await self.registry.register(
            request_id,
            tenant="acme",
            body=body,
            origin=uuid4().hex,
            running=False,
            reply_to=ReplyAddress(topic="llm.replies.v1"),
        )
        return f"{request_id.removeprefix(self.name + '-')}:{found.state}"

    async def end(self, run: int, **reply: Any) -> None:
        given = {"status": Status.FAILED, "error": UNAVAILABLE} | reply
        await self.registry.begin_settle(Reply(request_id=self.id_of_run(run), **given), tenant="acme")
        await self.registry.finish_settle(self.id_of_run(run))


@pytest.fixture
async def key(redis_url: str) -> AsyncIterator[Key]:
    client = connection.connect(redis_url, timeout_s=30)
    yield Key(client)
    await client.aclose()


@pytest.mark.integration
async def test_a_failure_is_followed_by_a_new_run_until_there_is_an_answer(key: Key) -> None:
    """Each is a request of its own, and a repeat belongs to the newest."""
    assert await key.send() == f"1:{SubmissionState.NEW}"
    assert await key.send() == f"1:{SubmissionState.PENDING}"
    for run in (1, 2):
        await key.end(run)
        assert await key.send() == f"{run + 1}:{SubmissionState.NEW}"
    await key.end(3, status=Status.ANSWERED, content="Paris", error=None)
    assert [await key.send() for _ in range(2)] == [f"3:{SubmissionState.SETTLED}"] * 2
    first = await key.registry.find(key.id_of_run(1))
    assert first is not None
    assert first.reply is not None
    assert first.reply.status is Status.FAILED


@pytest.mark.integration
async def test_those_who_repeat_at_once_join_one_new_run(key: Key) -> None:
    """However many; exactly one of them is new."""
    await key.send()
    await key.end(1)
    found = await asyncio.gather(*(key.send() for _ in range(20)))
    assert sorted(found, key=str) == sorted(
        [f"2:{SubmissionState.NEW}", *[f"2:{SubmissionState.PENDING}"] * 19]
    )


@pytest.mark.integration
async def test_what_was_charged_or_judged_stands(key: Key) -> None:
    """It is given again, and never paid again."""
    await key.send()
    await key.end(1, cost_usd=Decimal("0.01"))
    assert await key.send() == f"1:{SubmissionState.SETTLED}"


@pytest.mark.integration
async def test_another_body_is_a_conflict_for_every_run(key: Key) -> None:
    """Also where the new run has begun, and its entry is not there yet."""
    await key.send()
    await key.end(1)
    assert await key.send("other") == f"1:{SubmissionState.CONFLICT}"
    assert await key.runs.newest(key.id_of_run, body="body") == key.id_of_run(2)
    assert await key.send("other") is None
    assert await key.send() == f"2:{SubmissionState.NEW}"
