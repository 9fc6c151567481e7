"""Redis that runs out of memory under the running system, and its keys after requests of every kind."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import redis

from headrace.embedded.process import free_port
from streams.redis.keys import FAMILIES
from tests import parts
from tests.acceptance.conftest import System, unique, wait_for
from tests.acceptance.test_audit import audit, breaking, now, produce

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        parts.source()[0] != "embedded", reason="a Redis that other tests share is not to be filled"
    ),
]

_LIMIT = 64 * 1024 * 1024
_PIECE_BYTES = 500_000
_NOTICED_S = 20.0
"""Within that the processes have noticed how full Redis is; on an idle machine two or three seconds."""
_ENDS_S = 60.0
_FILLER = "others:"
"""What the keys begin with that the test fills Redis with; none of them is Headrace's."""


@pytest.fixture
def store(system: System) -> Iterator[redis.Redis]:
    """Its Redis, with a small limit; whatever the test put there goes."""
    with redis.Redis.from_url(system.endpoints.redis, socket_timeout=10) as client:
        client.config_set("maxmemory", _LIMIT)
        yield client
        free(client)
    assert wait_for(partial(says, system, "ok"), _NOTICED_S)


def used(store: redis.Redis) -> int:
    """How many bytes Redis holds."""
    return int(store.info("memory")["used_memory"])


def fill(store: redis.Redis, share: float) -> None:
    """Fill Redis up to a share of its limit."""
    while used(store) < share * _LIMIT:
        store.setrange(f"{_FILLER}{uuid.uuid4().hex}", _PIECE_BYTES, "x")


def overflow(store: redis.Redis) -> None:
    """Let Redis hold more than it may: it refuses every write."""
    store.config_set("maxmemory", used(store) // 2)


def free(store: redis.Redis) -> None:
    """Take everything back."""
    store.config_set("maxmemory", _LIMIT)
    for key in store.scan_iter(f"{_FILLER}*"):
        store.delete(key)


def memory(system: System) -> tuple[int, dict[str, Any]]:
    """What `/health` says of Redis, and its HTTP status."""
    response = httpx.get(f"{system.endpoints.ingest}/health", timeout=5)
    return response.status_code, response.json()["checks"]["redis"]


def says(system: System, state: str) -> bool:
    """Whether `/health` says so, and both it and `/ready` have the status that belongs to it."""
    status, check = memory(system)
    ready = httpx.get(f"{system.endpoints.ingest}/ready", timeout=5).status_code
    return check.get("memory", {}).get("state") == state and status == ready == (
        503 if state == "full" else 200
    )


def submit(system: System, count: int, **fields: Any) -> list[str]:
    """Submit requests that nobody waits for, and return their ids."""
    found = []
    for _ in range(count):
        body = {"query": unique("What now?"), "user_id": "memory", **fields}
        response = system.http.post("/v1/requests", json=body)
        assert response.status_code == 202, response.text
        found.append(response.json()["request_id"])
    return found


def ended(system: System, request_id: str) -> str | None:
    """Return how a request ended, once it has."""
    response = system.http.get(f"/v1/requests/{request_id}")
    status = response.json().get("status") if response.status_code == 200 else None
    return status if status in {"answered", "failed", "cancelled", "degraded", "blocked"} else None


def assert_answered(system: System, ids: list[str]) -> None:
    assert [wait_for(partial(ended, system, request_id), _ENDS_S) for request_id in ids] == [
        "answered" for _ in ids
    ]


def assert_refused(system: System) -> None:
    """Every way in says 503, and when to come again."""
    chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": unique("Is there room?")}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat}
    for response in (
        system.chat(unique("Is there room?")),
        system.http.post("/v1/chat/completions", json=chat),
        system.http.post("/v1/requests", json={"query": unique("Room?"), "user_id": "u"}),
        system.http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "room?"}),
        system.http.post("/v1/batches", content=json.dumps(line)),
    ):
        assert response.status_code == 503, response.text
        assert int(response.headers["Retry-After"]) >= 1


def test_every_key_is_known_and_bounded(system: System, store: redis.Redis) -> None:
    """After requests of every kind, with ids of megabytes: each key has a short name and an end."""
    since, huge = now(), "h" * 1_000_000
    question, key = unique("Asked twice?"), {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(2):
        assert system.chat(question).status_code == 200
        body = {"query": question, "user_id": "u", "session_id": "s" * 100}
        assert system.http.post("/v1/chat", json=body, headers=key).status_code == 200
    embedded = system.http.post(
        "/v1/embeddings", json={"model": "text-embedding-3-small", "input": unique("x")}
    )
    assert embedded.status_code == 200
    hook = {"url": f"http://127.0.0.1:{free_port()}/nobody"}
    assert_answered(system, submit(system, 3, webhook=hook))
    system.behave(faults=[{"kind": "overloaded", "rate": 1.0}])
    assert system.chat(unique("Degraded?")).json()["status"] == "degraded"
    system.behave_well()
    asked = {"query": unique("By Kafka?"), "user_id": "k", "request_id": uuid.uuid4().hex}
    produce(
        system,
        [
            ("llm.requests.v1", b"k", asked, [("kafka_correlationId", b"c-1")]),
            ("llm.requests.v1", b"k", asked, [("kafka_correlationId", b"c-2")]),
            ("llm.requests.v1", b"k", asked, [("kafka_correlationId", huge.encode())]),
            ("llm.requests.v1", b"k", asked | {"request_id": huge}, [("kafka_correlationId", b"c-3")]),
            ("llm.requests.v1", b"k", asked | {"tenant": huge, "request_id": uuid.uuid4().hex}, []),
        ],
    )
    assert_answered(system, [asked["request_id"]])
    code, report = audit(system, since, "--wait", "60")  # each of them has ended, the refused ones too
    assert (code, breaking(report)) == (0, {})
    assert wait_for(lambda: store.exists("headrace:webhooks:bytes"), _ENDS_S)
    names = [str(key.decode()) for key in store.scan_iter(count=1_000)]
    families = {name: each for name in names for each in FAMILIES if name.startswith(each.prefix)}
    assert len({family.prefix for family in families.values()}) >= 8
    for name in names:
        assert name in families, name
        family = families[name]
        assert len(name) <= 128, name[:200]
        ttl = int(store.ttl(name))
        assert (0 < ttl <= 24 * 3_600) if family.expires else ttl == -1, (name, ttl)
        assert int(store.memory_usage(name) or 0) < 100_000, name


def test_before_redis_is_full_new_requests_are_refused_and_the_others_end(
    system: System, store: redis.Redis
) -> None:
    """Health and readiness tell; what is known is answered; afterwards all goes on by itself."""
    since, known = now(), {"Idempotency-Key": uuid.uuid4().hex}
    body = {"query": unique("Known before?"), "user_id": "u"}
    assert system.http.post("/v1/chat", json=body, headers=known).status_code == 200
    system.behave(latency={"first_token_ms": 4_000})
    under_way = submit(system, 10)
    fill(store, 0.95)
    assert wait_for(partial(says, system, "full"), _NOTICED_S), memory(system)
    assert_refused(system)
    by_kafka = {"query": unique("By Kafka?"), "user_id": "k", "request_id": uuid.uuid4().hex}
    produce(system, [("llm.requests.v1", b"k", by_kafka, [])])
    assert system.http.post("/v1/chat", json=body, headers=known).json()["repeat"] is True
    assert_answered(system, under_way)
    system.behave_well()
    assert ended(system, by_kafka["request_id"]) is None

    free(store)
    assert wait_for(partial(says, system, "ok"), _NOTICED_S), memory(system)
    assert system.chat(unique("Room again?")).status_code == 200
    assert_answered(system, [by_kafka["request_id"]])
    code, report = audit(system, since, "--wait", "60")
    assert (code, breaking(report)) == (0, {})


def test_a_redis_that_is_full_to_the_brim_loses_nothing(system: System, store: redis.Redis) -> None:
    """It refuses every write for some seconds, in the middle of things: each request is answered, once."""
    since = now()
    system.behave(latency={"first_token_ms": 2_000})
    under_way = submit(system, 10)
    with brimful(store):
        assert wait_for(partial(says, system, "full"), _NOTICED_S), memory(system)
        assert_refused(system)
        time.sleep(4)  # until the answers are there, and cannot be noted
    system.behave_well()
    assert_answered(system, under_way)
    assert wait_for(partial(says, system, "ok"), _NOTICED_S), memory(system)
    code, report = audit(system, since, "--wait", "90")
    assert (code, breaking(report)) == (0, {})


def test_low_memory_empties_the_cache_before_it_stops_requests(system: System, store: redis.Redis) -> None:
    """Requests go on, health says `degraded`, and what the cache held is given back."""
    for _ in range(3):
        assert system.chat(unique("Cache this")).status_code == 200
    cached = "headrace:cache:answer:*"
    assert wait_for(lambda: list(store.scan_iter(cached)), _ENDS_S)
    fill(store, 0.86)
    assert wait_for(partial(says, system, "low"), _NOTICED_S), memory(system)
    assert wait_for(lambda: not list(store.scan_iter(cached)), _NOTICED_S)
    health = httpx.get(f"{system.endpoints.ingest}/health", timeout=5).json()
    assert health["status"] == "degraded"
    question = unique("Still answered?")
    assert [system.chat(question).json()["status"] for _ in range(2)] == ["answered", "answered"]


@contextmanager
def brimful(store: redis.Redis) -> Iterator[None]:
    """Keep Redis over its limit for as long as the block takes, whatever expires meanwhile."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.05):
            overflow(store)

    overflow(store)
    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(timeout=10)
        free(store)
