"""Dead letters in a running system: found, read, discarded, replayed to an answer."""

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from headrace.ops.dlq.actions import ActionOutcome, DeadLetterActions
from headrace.ops.dlq.letters import LetterId
from headrace.ops.dlq.reader import DeadLetterReader
from headrace.ops.topic_reader import TopicReader
from streams.errors import KafkaUnavailable
from streams.publisher import Emit, Position, Publisher
from streams.redelivery import dead_letter
from streams.topics import (
    COMPLETIONS,
    DEAD_LETTER_ACTIONS,
    DEAD_LETTERS,
    GUARDED,
    LEDGER,
    MISSES,
    OUTCOMES,
    REPLIES,
    REQUESTS,
)
from tests.acceptance.conftest import System, clean_environ, run_headrace, unique, wait_for
from tests.fakes.records import read_record

pytestmark = pytest.mark.acceptance

_TIMEOUT_S = 30.0
#: In the order of the pipeline: what a stage has done is on the topic of the next.
_SOURCES = {
    "guardrail": REQUESTS.name,
    "cache": GUARDED.name,
    "llm": MISSES.name,
    "output": COMPLETIONS.name,
    "cost": OUTCOMES.name,
}


class Broken(Exception):  # the name that the letter shows
    """A fault that has been mended since."""


def dlq(system: System, *arguments: str, code: int = 0) -> Any:
    """Run a command beside the system, as its operator: endpoints come from the folder."""
    result = run_headrace("dlq", *arguments, "--json", data_dir=system.data_dir)
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(result.stdout)


def letters(system: System, request_id: str, *more: str) -> list[dict[str, Any]]:
    found = dlq(system, "list", "--request-id", request_id, *more)["letters"]
    return list(found)


async def publish(system: System, emit: Emit) -> Position:
    async with Publisher(system.endpoints.kafka, client_id="test", auth=system.auth) as publisher:
        return await publisher.publish(emit)


def ask(system: System, request_id: str, value: bytes | None = None) -> None:
    """Send a request over Kafka; a good one where no bytes are given."""
    body = value if value is not None else question(request_id)
    asyncio.run(publish(system, Emit(topic=REQUESTS.name, key=request_id, value=body)))


def question(request_id: str) -> bytes:
    return json.dumps(
        {"request_id": request_id, "user_id": "dlq", "query": unique("What is a sluice?")}
    ).encode()


async def read(system: System, topic: str, request_id: str) -> list[dict[str, Any]]:
    """Return the events of a request that lie on a topic now."""
    async with TopicReader(system.endpoints.kafka, client_id="test", timeout_s=10.0) as topics:
        events = [json.loads(record.value) async for record in topics.records(await topics.spans([topic]))]
    return [event for event in events if event["request_id"] == request_id]


def replies(system: System, request_id: str) -> list[dict[str, Any]]:
    return asyncio.run(read(system, REPLIES.name, request_id))


def letter_of(system: System, request_id: str, *, buried: int = 1) -> dict[str, Any]:
    """Return the open letter of a request, once so many of its records were dead-lettered."""
    eventually(lambda: asyncio.run(_count_buried(system, request_id)) >= buried)
    (letter,) = letters(system, request_id)
    return letter


async def _count_buried(system: System, request_id: str) -> int:
    # Not by the command line: each command is a Python process.
    async with TopicReader(system.endpoints.kafka, client_id="test", timeout_s=10.0) as topics:
        keys = [record.key async for record in topics.records(await topics.spans([DEAD_LETTERS.name]))]
    return keys.count(request_id.encode())


def eventually(condition: Callable[[], Any]) -> Any:
    value = wait_for(condition, _TIMEOUT_S)
    assert value
    return value


def bury_good_request(system: System, request_id: str, value: bytes | None = None) -> Position:
    """Write the dead letter of a good request, as the runner does where a stage has a bug.

    The place it names is one that no request has: the end of the topic, far off.
    """
    dead = read_record(
        topic=REQUESTS.name,
        partition=0,
        offset=int(time.time() * 1000),
        timestamp_ms=int((time.time() - 3600) * 1000),
        key=request_id.encode(),
        value=value or question(request_id),
        headers=(("x-mine", b"\x01"),),
    )
    fault = Broken("a bug that a new version has mended")
    return asyncio.run(publish(system, dead_letter(dead, stage="guardrail", fault=fault)))


def test_a_poison_record_is_found_read_and_discarded(healthy: System) -> None:
    """From its sender's request id to the bytes, with nothing but the command line."""
    request_id = uuid.uuid4().hex
    poison = b"\x00\xff{" + request_id.encode()
    ask(healthy, request_id, poison)
    letter = letter_of(healthy, request_id)
    assert (letter["stage"], letter["exception"], letter["state"]) == (
        "guardrail",
        "UndecodableRecord",
        "open",
    )
    raw = subprocess.run(
        [sys.executable, "-m", "headrace", "dlq", "show", letter["id"], "--raw"],
        env=clean_environ() | {"HEADRACE_DATA_DIR": str(healthy.data_dir)},
        cwd=healthy.data_dir.parent,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert raw.stdout == poison
    dlq(healthy, "discard", letter["id"], "--reason", "no sender of ours")
    assert letters(healthy, request_id) == []
    shown = dlq(healthy, "show", letter["id"])
    assert (shown["state"], shown["history"][0]["reason"]) == ("discarded", "no sender of ours")
    (refused,) = dlq(healthy, "replay", letter["id"], code=1)["results"]
    assert refused["outcome"] == "refused"
    assert [reply["status"] for reply in replies(healthy, request_id)] == ["failed"]


def test_a_poison_record_that_is_replayed_dies_again_and_says_so(healthy: System) -> None:
    """The new letter knows of its replay, and the cap ends the game."""
    request_id = uuid.uuid4().hex
    ask(healthy, request_id, b"{" + request_id.encode())
    for number in range(3):
        letter = letter_of(healthy, request_id, buried=number + 1)
        assert letter["replays"] == number
        dlq(healthy, "replay", letter["id"])
    letter = letter_of(healthy, request_id, buried=4)
    (refused,) = dlq(healthy, "replay", letter["id"], code=1)["results"]
    assert "HEADRACE_MAX_REPLAYS" in refused["detail"]


def test_a_replay_of_what_was_mended_is_answered_booked_and_logged_once(healthy: System) -> None:
    """Its sender gets the answer, marked as a replay, although its deadline had long passed."""
    request_id = uuid.uuid4().hex
    bury_good_request(healthy, request_id)
    (letter,) = letters(healthy, request_id)
    (done,) = dlq(healthy, "replay", letter["id"], "--reason", "mended")["results"]
    assert (done["outcome"], done["replay"]) == ("replayed", 1)
    (reply,) = eventually(lambda: replies(healthy, request_id))
    assert (reply["status"], reply.get("replay")) == ("answered", 1)
    row = healthy.row(request_id)
    assert row["status"] == "answered"
    (entry,) = asyncio.run(read(healthy, LEDGER.name, request_id))
    assert Decimal(entry["amount_usd"]) == Decimal(reply["cost_usd"]) == Decimal(row["cost_usd"]) > 0
    assert entry["replay"] == 1


def test_what_was_answered_and_charged_is_paid_for_again_only_when_asked_to(healthy: System) -> None:
    """Refused first; with `--pay-again` a model is called once more, and its answer is a reply of its own."""
    request_id = uuid.uuid4().hex
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    # With tools no cache answers it again.
    value = json.dumps(json.loads(question(request_id)) | {"tools": tools, "tool_choice": "none"}).encode()
    ask(healthy, request_id, value)
    (first,) = eventually(lambda: replies(healthy, request_id))
    position = bury_good_request(healthy, request_id, value)
    letter = str(LetterId(position.partition, position.offset))
    eventually(lambda: asyncio.run(read(healthy, LEDGER.name, request_id)))
    (refused,) = dlq(healthy, "replay", letter, code=1)["results"]
    assert (refused["outcome"], "--pay-again" in refused["detail"]) == ("refused", True)
    dlq(healthy, "replay", letter, "--pay-again")
    (again,) = eventually(lambda: [each for each in replies(healthy, request_id) if each.get("replay")])
    assert (again["status"], Decimal(again["cost_usd"]) > 0) == ("answered", first["status"] == "answered")


def test_a_crash_between_the_replay_and_its_record_calls_and_charges_once(healthy: System) -> None:
    """The operator replays it again, and the stages know the second copy for the first."""
    request_id = uuid.uuid4().hex
    before = healthy.invoice()["calls"]
    position = bury_good_request(healthy, request_id)
    asyncio.run(replay_and_die(healthy, LetterId(position.partition, position.offset)))
    (letter,) = letters(healthy, request_id)
    assert letter["state"] == "open"
    (again,) = dlq(healthy, "replay", letter["id"])["results"]
    assert (again["outcome"], again["replay"]) == ("replayed", 1)
    row = healthy.row(request_id)
    assert row["status"] == "answered"
    eventually(lambda: asyncio.run(all_is_done(healthy)))
    contents = {(reply["content"], reply["cost_usd"]) for reply in replies(healthy, request_id)}
    assert len(contents) == 1
    assert len({entry["entry_id"] for entry in asyncio.run(read(healthy, LEDGER.name, request_id))}) == 1
    calls = healthy.sql("SELECT count() AS n FROM llm_calls WHERE request_id = {id:String}", id=request_id)
    assert int(calls[0]["n"]) == 1
    assert healthy.invoice()["calls"] - before == 1


async def all_is_done(system: System) -> bool:
    """Whether every stage has committed everything that lies on its topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=system.endpoints.kafka)
    await admin.start()
    try:
        async with TopicReader(system.endpoints.kafka, client_id="test", timeout_s=10.0) as topics:
            for stage, topic in _SOURCES.items():
                done = await admin.list_consumer_group_offsets(f"headrace.{stage}")
                spans = await topics.spans([topic])
                if any(
                    span.end and (each not in done or done[each].offset < span.end)
                    for each, span in spans.items()
                ):
                    return False
    finally:
        await admin.close()
    return True


async def replay_and_die(system: System, place: LetterId) -> None:
    """Replay a letter, and be killed before the action is recorded."""
    async with (
        Publisher(system.endpoints.kafka, client_id="test", auth=system.auth) as publisher,
        TopicReader(system.endpoints.kafka, client_id="test", timeout_s=10.0) as topics,
    ):

        class Dies:
            async def publish(self, emit: Emit) -> Position:
                if emit.topic == DEAD_LETTER_ACTIONS.name:
                    raise KafkaUnavailable("killed")
                return await publisher.publish(emit)

        actions = DeadLetterActions(DeadLetterReader(topics, system.auth), Dies(), by="nobody", reason="")
        results = [each async for each in actions.replay([place], force=False, max_replays=3)]
    assert [each.outcome for each in results] == [ActionOutcome.FAILED]
