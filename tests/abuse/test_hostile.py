"""What the fuzzers draw, and what they call a fault."""

from collections import Counter
from random import Random

import pytest

from bench.abuse.condition import Process, changes
from bench.abuse.forged import MARK, Forger, Victim
from bench.abuse.http import Answered, judge, parsed
from bench.abuse.records import Hostile, HostileRecords
from bench.abuse.requests import HttpAttack, HttpAttacks
from streams.codec import decode, encode
from streams.events import Delta
from streams.pipeline import ENTRANCES, TOPICS
from streams.topics import DELTAS, FEEDBACK, RETRIES

_OPENAPI = {"paths": {"/v1/chat": {"post": {}}, "/v1/requests/{request_id}": {"get": {}, "delete": {}}}}
_VICTIM = Victim(tenant="witness", user_id="w", webhook="http://127.0.0.1:1/", request_ids=["real-1"])


def records(seed: int) -> list[Hostile]:
    """Draw some records."""
    chance = Random(seed)
    delta = Delta(request_id="real-1", attempt=1, seq=0, text="lye")
    real = [Hostile(kind="", topic=DELTAS.name, key=b"real-1", value=encode(delta))]
    return list(HostileRecords(real, Forger(_VICTIM, chance), chance).draw(800))


def attacks(seed: int) -> list[HttpAttack]:
    """Draw some requests."""
    return list(HttpAttacks(_OPENAPI, "127.0.0.1:80", ["hr-key"], Random(seed)).draw(800))


def timeless(drawn: list[Hostile]) -> list[tuple[str, str, bytes | None]]:
    """Return what of records does not depend on the clock."""
    return [(each.kind, each.topic, each.key) for each in drawn]


def test_the_same_seed_draws_the_same() -> None:
    """What was found can be found again; another seed finds something else."""
    assert timeless(records(1)) == timeless(records(1)) != timeless(records(2))
    assert attacks(1) == attacks(1) != attacks(2)


def test_every_topic_and_kind_is_met() -> None:
    """The mixture is what it says: all topics, over twenty kinds, none of them most of it."""
    drawn = records(3)
    assert {each.topic for each in drawn} >= set(TOPICS)
    kinds = Counter(each.kind for each in drawn)
    assert len(kinds) > 20
    assert max(kinds.values()) < len(drawn) / 4


def test_forgeries_are_what_their_topics_carry() -> None:
    """A forged record fails for being forged, not for being spoilt; each names the victim or the mark."""
    forged = {topic.name: (topic, event) for topic, _, event in Forger(_VICTIM, Random(1)).about("real-1")}
    open_to_senders = {*(topic.name for topic in ENTRANCES), FEEDBACK.name}
    as_they_came = {RETRIES.name, "llm.dead-letters.v1"}
    assert set(forged) == set(TOPICS) - open_to_senders - as_they_came
    for topic, event in forged.values():
        assert topic.event is not None
        assert decode(encode(event), topic.event) == event
        assert MARK in encode(event).decode() or "witness" in encode(event).decode()


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (b"HTTP/1.1 500 x\r\nx-request-id: a\r\n\r\n" + b'{"error":{"message":"m","type":"t"}}', "500"),
        (b"HTTP/1.1 504 x\r\nx-request-id: a\r\n\r\n" + b'{"error":{"message":"m","type":"t"}}', "504"),
        (b"HTTP/1.1 400 x\r\n\r\n" + b'{"error":{"message":"m","type":"t"}}', "without X-Request-ID"),
        (b"HTTP/1.1 400 x\r\nx-request-id: a\r\n\r\nInvalid", "without an error object"),
        (b"HTTP/1.1 307 x\r\nx-request-id: a\r\nlocation: http://elsewhere.example/\r\n\r\n", "reflects"),
        (b"", "closed without an answer"),
        (b"garbage", "no HTTP"),
    ],
)
def test_a_wrong_answer_is_a_fault(response: bytes, fault: str) -> None:
    """Each thing that an answer can lack."""
    attack = HttpAttack("a kind", b"GET / HTTP/1.1\r\n\r\n")
    found = judge(attack, parsed(response, attack))
    assert len(found) == 1
    assert fault in found[0]


def test_a_right_answer_is_none() -> None:
    """Neither a refusal with its error object, nor the silence after half a request, nor what a HEAD gets."""
    right = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 x\r\nX-Request-ID: a\r\n\r\n"
    whole, head = HttpAttack("a kind", b""), HttpAttack("a kind", b"", no_body=True)
    half = HttpAttack("a kind", b"", ended=False)
    assert not judge(whole, parsed(right + b'{"error":{"message":"m","type":"t"}}', whole))
    assert not judge(head, parsed(right, head))
    assert not judge(half, Answered(None, {}, b"", fault="closed without an answer"))


def test_a_process_that_ended_or_grew_is_a_fault() -> None:
    """By its pid, its restarts, its state and its memory."""
    before = {"worker-0": Process(1, 0, "running", 100)}
    assert not changes(before, {"worker-0": Process(1, 0, "running", 110)}, growth_mib=20)
    for after in (Process(2, 0, "running", 100), Process(1, 1, "running", 100), Process(1, 0, "failed", 100)):
        assert "did not stay" in changes(before, {"worker-0": after}, growth_mib=20)[0]
    assert "grew" in changes(before, {"worker-0": Process(1, 0, "running", 121)}, growth_mib=20)[0]
