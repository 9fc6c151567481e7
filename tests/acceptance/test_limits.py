"""Rate limits in the running system: over two replicas, for whole answers and for streams."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.acceptance.conftest import System, headrace, unique, wait_for
from tests.acceptance.test_resume import Replica, second_replica

pytestmark = pytest.mark.acceptance

TIER = "limits-test"


@pytest.fixture(scope="module")
def replica(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A second ingest."""
    with second_replica(system, tmp_path_factory.mktemp("replica")) as running:
        yield running


@pytest.fixture
def bases(system: System, replica: Replica) -> list[str]:
    return [system.endpoints.ingest, replica.base]


def limited(system: System, bases: list[str], **limits: dict[str, int]) -> tuple[str, dict[str, str]]:
    """A new key of a tier with these limits, live everywhere: its id, and the headers of its requests."""
    headrace("control", "set", "limit", TIER, json.dumps(limits), data_dir=system.data_dir)
    made = json.loads(
        headrace(*("keys", "create", "--tenant", TIER, "--tier", TIER, "--json"), data_dir=system.data_dir)
    )
    headers = {"X-API-Key": made["key"]}
    assert wait_for(
        lambda: all(
            httpx.get(f"{base}/v1/models", headers=headers, timeout=30).status_code == 200 for base in bases
        ),
        30,
    )
    return made["id"], headers


def ask(base: str, headers: dict[str, str], **more: object) -> httpx.Response:
    body = {"query": unique("Who may ask?"), "user_id": "ann", "max_tokens": 50} | more
    return httpx.post(f"{base}/v1/chat", json=body, headers=headers, timeout=60)


def in_use(system: System, key_id: str) -> dict[str, int]:
    """What `headrace limits test` shows, by what is limited."""
    found = json.loads(
        headrace("limits", "test", key_id, "--user", "ann", "--json", data_dir=system.data_dir)
    )
    return {each["limit"]: each["used"] for each in found["limits"]}


def test_a_limit_holds_over_two_replicas(system: System, bases: list[str]) -> None:
    """Of sixty at once exactly five are answered; the command shows what they used, and a repeat is free."""
    key_id, headers = limited(
        system, bases, per_user={"requests_per_minute": 5, "tokens_per_minute": 100_000}
    )
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda at: ask(bases[at % 2], headers), range(60)))
    assert Counter(each.status_code for each in found) == {200: 5, 429: 55}
    for each in found:
        assert each.headers["x-ratelimit-limit-requests"] == "5"
        assert (each.status_code == 429) is ("retry-after" in each.headers)
    used = sum(
        each.json()["input_tokens"] + each.json()["output_tokens"] for each in found if each.is_success
    )
    assert wait_for(lambda: in_use(system, key_id) == {"requests": 5, "tokens": used}, 30)


def test_a_permit_ends_with_the_stream(system: System, bases: list[str]) -> None:
    """One at a time: refused on the other replica while a stream is read, also by a client that leaves."""
    key_id, headers = limited(system, bases, per_user={"concurrent_requests": 1})
    system.behave(latency={"first_token_ms": 10, "tokens_per_second": 15})
    try:
        for leaves in (False, True):
            body = {"query": unique("Tell me a long story?"), "user_id": "ann", "stream": True}
            with httpx.stream(
                "POST", f"{bases[0]}/v1/chat", json=body, headers=headers, timeout=60
            ) as stream:
                assert stream.status_code == 200
                text = stream.iter_lines()
                next(text)
                refused = ask(bases[1], headers)
                assert refused.status_code == 429
                assert refused.json()["error"]["param"] == f"limits.{TIER}.per_user.concurrent_requests"
                if not leaves:
                    assert list(text)
            assert wait_for(lambda: in_use(system, key_id) == {"concurrent": 0}, 30)
            assert ask(bases[1], headers).status_code == 200
    finally:
        system.behave_well()


def test_a_changed_limit_is_live(system: System, bases: list[str]) -> None:
    """On every replica, for the next request."""
    _, headers = limited(system, bases, per_key={"requests_per_minute": 1})
    assert [ask(base, headers).status_code for base in bases] == [200, 429]
    more = json.dumps({"per_key": {"requests_per_minute": 50}})
    headrace("control", "set", "limit", TIER, more, data_dir=system.data_dir)
    assert wait_for(lambda: all(ask(base, headers).status_code == 200 for base in bases), 30)
