"""The cache gives an answer again only where asking again would give an equivalent one, and says so."""

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from tests.acceptance.conftest import System, unique, wait_for
from tests.acceptance.test_audit import produce

pytestmark = pytest.mark.acceptance

CLAUDE = "claude-sonnet-4-20250514"


def ask(
    system: System, question: str, *, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    """Ask by OpenAI's API."""
    message = {"role": "user", "content": question, **fields.pop("message", {})}
    body = {"model": "gpt-4o-mini", "messages": [*fields.pop("before", []), message], **fields}
    response = system.http.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response


def kind(response: httpx.Response) -> tuple[str, bool]:
    """How the cache was consulted: what headers and body say, which agree."""
    said = response.json()["headrace"]
    assert response.headers["X-Headrace-Cache"] == said["cache_kind"]
    assert response.headers["X-Headrace-Model"] == response.json()["model"]
    assert ("Age" in response.headers) == said["cache_hit"] == (said["cache_age_s"] is not None)
    return said["cache_kind"], said["cache_hit"]


EXACT, MISS, BYPASS = ("exact", True), ("miss", False), ("bypass", False)


def test_bob_does_not_get_anns_answer(healthy: System) -> None:
    """Who speaks is part of the question."""
    question = unique("Who am I?")
    assert kind(ask(healthy, question, message={"name": "Ann"})) == MISS
    assert kind(ask(healthy, question, message={"name": "Ann"})) == EXACT
    assert kind(ask(healthy, question, message={"name": "Bob"})) == MISS
    assert kind(ask(healthy, question)) == MISS


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.2},
        {"top_p": 0.5},
        {"seed": 7},
        {"stop": ["x"]},
        {"max_tokens": 900},
        {"model": "gpt-4o"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_every_parameter_is_part_of_the_question(healthy: System, fields: dict[str, Any]) -> None:
    """The same words with another parameter are another question."""
    question = unique("What is a weir?")
    assert [kind(ask(healthy, question)), kind(ask(healthy, question, **fields))] == [MISS, MISS]
    assert kind(ask(healthy, question, **fields)) == EXACT


def test_a_fallbacks_answer_is_not_kept_as_the_firsts(healthy: System) -> None:
    """Once the first model is back it answers itself; its answer is kept."""
    question = unique("What is a sluice?")
    healthy.behave(faults=[{"kind": "server_error", "rate": 1.0, "provider": "openai"}])
    assert ask(healthy, question).json()["model"].startswith("claude")
    healthy.behave_well()
    again = ask(healthy, question)
    assert (kind(again), again.json()["model"][:11]) == (MISS, "gpt-4o-mini")
    third = ask(healthy, question)
    assert (kind(third), third.json()["model"]) == (EXACT, again.json()["model"])


def test_what_is_not_shared(healthy: System) -> None:
    """Variety that was asked for, and questions about now."""
    for fields, question in (
        ({"temperature": 1.5}, unique("Name a river")),
        ({}, unique("What's the weather today?")),
        ({}, unique("Wie spät ist es jetzt?")),
    ):
        assert [kind(ask(healthy, question, **fields)) for _ in range(2)] == [BYPASS, BYPASS]


def test_a_cut_off_answer_is_not_kept(healthy: System) -> None:
    """It ends as `length`: asking again may give all of it."""
    question = unique("Tell me a long story")
    first = ask(healthy, question, max_tokens=3)
    assert first.json()["choices"][0]["finish_reason"] == "length"
    assert kind(ask(healthy, question, max_tokens=3)) == MISS


@pytest.mark.parametrize("by", ["header", "field"])
def test_who_asks_may_choose(healthy: System, by: str) -> None:
    """By `Cache-Control` or by the field: no-store keeps nothing, no-cache renews, max-age bounds the age."""

    def wish(text: str) -> httpx.Response:
        fields = {"headers": {"Cache-Control": text}} if by == "header" else {"headrace_cache": text}
        return ask(healthy, question, **fields)  # type: ignore[arg-type]

    question = unique("What is a mill race?")
    assert kind(wish("no-store")) == BYPASS
    assert kind(ask(healthy, question)) == MISS
    assert kind(wish("max-age=600")) == EXACT
    assert kind(wish("no-cache")) == BYPASS
    assert kind(wish("max-age=0")) == BYPASS
    assert kind(wish("max-age=600")) == EXACT


def test_words_that_no_cache_knows_are_refused(healthy: System) -> None:
    """The field by name; of the header only an age that is none: other caches have words of theirs."""
    body = {"messages": [{"role": "user", "content": "x"}], "headrace_cache": "never"}
    wrong = healthy.http.post("/v1/chat/completions", json=body)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "headrace_cache")
    del body["headrace_cache"]
    wrong = healthy.http.post("/v1/chat/completions", json=body, headers={"Cache-Control": "max-age=soon"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "Cache-Control")
    assert kind(ask(healthy, unique("Fine?"), headers={"Cache-Control": "no-transform"})) == MISS


def test_every_route_says_it(healthy: System) -> None:
    """Native, Anthropic's, asynchronous and by batch; streams in their headers and at their end."""
    question = unique("What is a penstock?")
    first = healthy.chat(question).json()
    assert (first["cache_kind"], first["cache_age_s"]) == ("miss", None)
    hit = healthy.chat(question)
    assert (hit.json()["cache_kind"], hit.headers["X-Headrace-Cache"]) == ("exact", "exact")
    assert hit.json()["cache_age_s"] == int(hit.headers["Age"]) >= 0
    assert hit.headers["X-Headrace-Model"] == hit.json()["model"] == first["model"]
    row = healthy.row(hit.json()["request_id"])
    assert (row["cache_kind"], row["model"]) == ("exact", first["model"])

    for path, body in (
        ("/v1/chat", {"query": question, "user_id": "u"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": unique("A?")}]}),
        (
            "/v1/messages",
            {"model": CLAUDE, "max_tokens": 900, "messages": [{"role": "user", "content": unique("B?")}]},
        ),
    ):
        healthy.http.post(path, json=body)
        streamed = healthy.http.post(path, json={**body, "stream": True})
        assert streamed.headers["X-Headrace-Cache"] == "exact", path
        assert int(streamed.headers["Age"]) >= 0
        assert '"cache_kind":"exact"' in streamed.text
    asked = {"messages": [{"role": "user", "content": unique("A new one?")}], "stream": True}
    streamed = healthy.http.post("/v1/chat/completions", json=asked)
    assert streamed.headers["X-Headrace-Cache"] == "miss"
    assert '"cache_kind":"miss"' in streamed.text

    accepted = healthy.http.post("/v1/requests", json={"query": question, "user_id": "u"}).json()
    fetched = healthy.http.get(accepted["url"], params={"wait_s": 30}).json()
    assert (fetched["cache_kind"], fetched["cache_hit"]) == ("exact", True)

    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/requests",
        "body": {"query": question, "user_id": "u"},
    }
    batch = healthy.http.post(
        "/v1/batches", content=json.dumps(line), headers={"Cache-Control": "no-cache"}
    ).json()
    done = wait_for(lambda: healthy.http.get(batch["url"]).json()["status"] == "completed", 60)
    assert done
    result = json.loads(healthy.http.get(batch["results_url"]).text)
    assert result["response"]["body"]["cache_kind"] == "bypass"


def test_a_kafka_reply_says_it_too(healthy: System) -> None:
    """And a record's field chooses as an HTTP body's does."""
    question, name = unique("What is a tailrace?"), uuid.uuid4().hex
    for number, fields in enumerate(({}, {}, {"headrace_cache": "no-cache"})):
        key = f"{name}-{number}"
        body = {"query": question, "user_id": "k", "request_id": key, **fields}
        produce(healthy, [("llm.requests.v1", key.encode(), body, [])])
        assert wait_for(
            lambda key=key: healthy.sql("SELECT 1 FROM requests WHERE request_id = {id:String}", id=key), 30
        )  # type: ignore[misc]
    replies = asyncio.run(_replies(healthy, name))
    assert [(each.get("cache_kind"), "cache_age_s" in each) for each in replies] == [
        ("miss", False),
        ("exact", True),
        ("bypass", False),
    ]


async def _replies(system: System, name: str) -> list[dict[str, Any]]:
    """The replies to the three requests, in their order."""
    found: dict[str, dict[str, Any]] = {}
    async with AIOKafkaConsumer(
        "llm.replies.v1", bootstrap_servers=system.endpoints.kafka, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(60):
            while len(found) < 3:
                record = await consumer.getone()
                if record.key and record.key.decode().startswith(name):
                    found[record.key.decode()] = json.loads(record.value)
    return [found[key] for key in sorted(found)]
