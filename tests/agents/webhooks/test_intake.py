"""From the topic to the queue, with a queue that does as it is told."""

from typing import Any

import msgspec
import pytest

from agents.runner.in_flight import RecordWork
from agents.stage import Record
from agents.webhooks.intake import WebhookIntake
from agents.webhooks.queue import Added, Lane
from streams.errors import StoreUnavailable
from streams.topics import DEAD_LETTERS
from streams.webhooks.signing import webhook_id
from streams.webhooks.targets import Targets
from tests.agents.runner.runs import Sends
from tests.agents.webhooks.due import due, due_record


class Queue:
    """Answers what it is told to; away as often as it is told to."""

    def __init__(self, answer: Added = Added.ADDED, *, away: int = 0) -> None:
        self.answer = answer
        self.away = away
        self.added: list[tuple[str, Lane, Record]] = []

    async def add(self, webhook_id: str, *, lane: Lane, record: Record) -> Added:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("Redis is away")
        self.added.append((webhook_id, lane, record))
        return self.answer


class Intake:
    """An intake, and what came of it."""

    def __init__(self, queue: Queue, *, enabled: bool = True, stays: bool = True) -> None:
        self.sends = Sends([])
        self.waits = 0
        self.woken = 0
        self.now = 0.0
        self.stays = stays
        self.intake = WebhookIntake(
            queue,  # type: ignore[arg-type]  # a fake
            self.sends,
            targets=Targets(enabled=enabled),
            wait=self._wait,
            on_added=self._wake,
            monotonic=lambda: self.now,
        )

    async def _wait(self, seconds: float) -> bool:
        self.waits += 1
        self.now += 60
        return self.stays

    def _wake(self) -> None:
        self.woken += 1

    async def __call__(self, record: Record | None = None) -> tuple[bool, RecordWork]:
        record = record or due_record()
        work = RecordWork(record.place, 0.0)
        return await self.intake.run(record, work), work

    def reasons(self) -> list[tuple[str, str]]:
        """Why there are dead letters."""
        found = []
        for emit in self.sends.sent:
            assert emit.topic == DEAD_LETTERS.name
            headers = dict(emit.headers)
            assert headers["__streams.errors.stage"] == b"webhooks"
            found.append(
                (
                    headers["__streams.errors.exception"].decode(),
                    headers["__streams.errors.message"].decode(),
                )
            )
        return found


async def test_it_is_queued_under_its_id() -> None:
    """Derived from the request and its replay; and somebody is told that there is work."""
    queue, record = Queue(), due_record(due(replay=2))
    intake = Intake(queue)
    assert (await intake(record))[0] is True
    assert queue.added == [(webhook_id("r-1", 2), Lane.of("acme", "hooks.example"), record)]
    assert (intake.woken, intake.sends.sent) == (1, [])


async def test_what_headrace_did_not_write_is_sent_nowhere() -> None:
    """Whoever may write to the topic would get a webhook signed in Headrace's name."""
    intake = Intake(Queue())
    assert (await intake(msgspec.structs.replace(due_record(), authentic=False)))[0] is True
    assert (intake.woken, intake.reasons()) == (
        0,
        [("UnauthenticRecord", "Headrace has not written this record")],
    )


@pytest.mark.parametrize("known", [Added.WAITING, Added.ENDED])
async def test_a_repeat_is_done_with(known: Added) -> None:
    """Its record was delivered again."""
    intake = Intake(Queue(known))
    assert (await intake())[0] is True
    assert (intake.woken, intake.sends.sent) == (0, [])


async def test_too_much_waits() -> None:
    """A dead letter keeps it, byte for byte: nothing is dropped, and nothing grows without end."""
    intake, record = Intake(Queue(Added.FULL)), due_record()
    done, work = await intake(record)
    assert (done, work.is_dead) == (True, True)
    assert intake.reasons() == [
        ("TooManyWaiting", "too many webhooks wait, of this tenant, for hooks.example or in all")
    ]
    assert intake.sends.sent[0].value == record.value


@pytest.mark.parametrize(
    ("given", "enabled", "why"),
    [
        ({"event": b"{"}, True, "UndecodableRecord"),
        ({"event": due("http://hooks.example/")}, True, "InvalidRequest"),
        ({}, False, "InvalidRequest"),
    ],
)
async def test_what_cannot_be_sent(given: dict[str, Any], enabled: bool, why: str) -> None:
    """Not ours, no allowed URL (Kafka producers choose it), nothing to sign with: a dead letter each."""
    intake = Intake(Queue(), enabled=enabled)
    assert (await intake(due_record(**given)))[0] is True
    assert [name for name, _ in intake.reasons()] == [why]


async def test_redis_is_waited_for() -> None:
    """However long: the watchdog knows that this is no stall."""
    queue = Queue(away=5)
    intake = Intake(queue)
    done, work = await intake()
    assert (done, len(queue.added), intake.waits) == (True, 1, 5)
    assert work.allowed_s >= 4 * 60


async def test_a_rebalance_does_not_wait_for_redis() -> None:
    """It is not done: it will be delivered again."""
    queue = Queue(away=1)
    intake = Intake(queue, stays=False)
    assert (await intake())[0] is False
    assert (queue.added, intake.sends.sent) == ([], [])
