"""No text of a request reaches a provider or ClickHouse with personal data in it, wherever it stands."""

import json
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import System, wait_for
from tests.acceptance.test_audit import produce

pytestmark = pytest.mark.acceptance

CARD = "4111 1111 1111 1111"
#: Half of it; four digits alone may be a duration.
CARD_NUMBER = re.compile(r"(?:4111|1111)\W*1111")
LABEL = "REDACTED_CREDIT_CARD"
_WAIT_S = 60.0

Body = dict[str, Any]


def _tool(**fields: Any) -> Body:
    return {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}, **fields}}


def _conversation(*messages: Body, **fields: Any) -> Body:
    return {"model": "gpt-4o-mini", "messages": list(messages), **fields}


def _say(text: str, role: str = "user", **fields: Any) -> Body:
    return {"role": role, "content": text, **fields}


def _acted(arguments: str = "{}", result: str = "done", name: str = "pay") -> tuple[Body, Body, Body]:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return (
        _say("pay"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        _say(result, "tool", tool_call_id="call_1"),
    )


#: Where the card number stands in a body of OpenAI's; every body says the marker in its last message.
OPENAI: dict[str, Callable[[Body], Body]] = {
    "system": lambda last: _conversation(_say(CARD, "system"), last),
    "developer": lambda last: _conversation(_say(CARD, "developer"), last),
    "user": lambda last: _conversation(_say(CARD), _say("ok", "assistant"), last),
    "user part": lambda last: _conversation(_say([{"type": "text", "text": CARD}]), last),  # type: ignore[arg-type]
    "assistant": lambda last: _conversation(_say("a"), _say(CARD, "assistant"), last),
    "tool result": lambda last: _conversation(*_acted(result=CARD), last, tools=[_tool()]),
    "tool arguments": lambda last: _conversation(
        *_acted(json.dumps({"card": CARD, "n": int(CARD.replace(" ", ""))})), last, tools=[_tool()]
    ),
    "name": lambda last: _conversation(_say("hi", name="visa_4111111111111111"), last),
    "tool name": lambda last: _conversation(
        *_acted(name="visa_4111111111111111"), last, tools=[_tool(name="visa_4111111111111111")]
    ),
    "tool description": lambda last: _conversation(last, tools=[_tool(description=CARD)]),
    "tool schema": lambda last: _conversation(
        last,
        tools=[
            _tool(
                parameters={
                    "type": "object",
                    "properties": {"card": {"type": "string", "description": CARD, "enum": [CARD, "none"]}},
                }
            )
        ],
    ),
    "stop": lambda last: _conversation(last, stop=[CARD]),
    "metadata": lambda last: _conversation(last, metadata={"note": CARD}),
    "answer's schema": lambda last: _conversation(
        last,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": {"type": "object", "properties": {"a": {"type": "string", "description": CARD}}},
            },
        },
    ),
}

ANTHROPIC: dict[str, Body] = {
    "system": {"system": CARD},
    "system block": {"system": [{"type": "text", "text": CARD}]},
    "assistant": {"messages": [_say("a"), _say(CARD, "assistant")]},
    "tool_use": {
        "messages": [
            _say("a"),
            _say([{"type": "tool_use", "id": "t_1", "name": "pay", "input": {"card": CARD}}], "assistant"),  # type: ignore[arg-type]
            _say([{"type": "tool_result", "tool_use_id": "t_1", "content": CARD}]),  # type: ignore[arg-type]
        ],
        "tools": [{"name": "pay", "description": CARD, "input_schema": {"type": "object"}}],
    },
    "stop": {"stop_sequences": [CARD]},
}


def _assert_unseen(system: System, marker: str, rows: int = 1) -> None:
    """The provider got the marker and no card number, nor has any row of ClickHouse one."""
    bodies = wait_for(lambda: system.received(marker), _WAIT_S)
    assert bodies
    assert [body for body in bodies if CARD_NUMBER.search(body)] == []
    query = "SELECT request_text, reply_text FROM payloads WHERE position(request_text, {m:String}) > 0"
    found = wait_for(lambda: len(texts := system.sql(query, m=marker)) >= rows and texts, _WAIT_S)
    assert found, marker
    assert not CARD_NUMBER.search(json.dumps(found))


@pytest.fixture(scope="module")
def asked(system: System) -> dict[str, str]:
    """The markers of requests with the card number in each place, each asked streamed and whole, at once."""
    system.behave_well()
    markers = {place: f"m{uuid.uuid4().hex}" for place in OPENAI}

    def ask(place: str, stream: bool) -> httpx.Response:
        body = OPENAI[place](_say(f"{markers[place]} {stream}")) | {"stream": stream}
        return system.http.post("/v1/chat/completions", json=body)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(ask, [*OPENAI, *OPENAI], [False] * len(OPENAI) + [True] * len(OPENAI)))
    for response in told:
        assert response.status_code == 200, response.text
        assert not CARD_NUMBER.search(response.text)
    return markers


@pytest.mark.parametrize("place", OPENAI)
def test_by_openais_api(healthy: System, asked: dict[str, str], place: str) -> None:
    """In every place of a body, streamed and whole: the provider takes the placeholder."""
    marker = asked[place]
    _assert_unseen(healthy, marker, rows=2)
    if place not in ("metadata", "stop"):
        assert all(LABEL in body for body in healthy.received(marker))


@pytest.mark.parametrize("place", ANTHROPIC)
def test_by_anthropics_api(healthy: System, place: str) -> None:
    """The same, asked and answered in Anthropic's words."""
    marker = f"m{uuid.uuid4().hex}"
    body = {"model": "claude-sonnet-4-20250514", "max_tokens": 50, **ANTHROPIC[place]}
    body["messages"] = [*body.get("messages", []), _say(marker)]
    response = healthy.http.post("/v1/messages", json=body)
    assert response.status_code == 200, response.text
    _assert_unseen(healthy, marker)
    assert all(LABEL in each for each in healthy.received(marker))


def test_by_batch_and_by_kafka(healthy: System) -> None:
    """All places at once; and the variables of a template."""
    marker = f"m{uuid.uuid4().hex}"
    last = _say(f"{marker} batch")
    lines = [
        {"custom_id": place, "method": "POST", "url": "/v1/chat/completions", "body": make(last)}
        for place, make in OPENAI.items()
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    accepted = healthy.http.post("/v1/batches", content=data)
    assert accepted.status_code == 202, accepted.text
    asked = [
        (f"{marker}-{number}", make(_say(f"{marker} kafka")) | {"user_id": "k"})
        for number, make in enumerate(OPENAI.values())
        if "developer" not in str(make(last))
    ]
    asked.append(
        (
            f"{marker}-variables",
            {
                "query": f"{marker} kafka",
                "user_id": "k",
                "template": "rag_answer",
                "variables": {"context": CARD},
            },
        )
    )
    for name, body in asked:
        if isinstance(body.get("stop"), str):
            body["stop"] = [body["stop"]]
        produce(healthy, [("llm.requests.v1", name.encode(), body, [])])
    _assert_unseen(healthy, marker, rows=len(lines) + len(asked))


def test_what_a_model_says_to_a_tool_is_redacted(healthy: System) -> None:
    """The arguments of its calls stay JSON, streamed and whole, in both APIs' words."""
    marker = f"m{uuid.uuid4().hex}"
    arguments = {"card": "4012 8888 8888 1881", "to": "bob@example.com"}
    healthy.behave(
        answers=[
            {"prompt_contains": marker, "tool_calls": [{"name": "pay", "arguments": arguments}], "text": "x"}
        ]
    )
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in arguments}}
    for stream in (False, True):
        body = _conversation(_say(f"{marker} {stream}"), tools=[_tool(parameters=schema)], stream=stream)
        said = healthy.http.post("/v1/chat/completions", json=body).text
        assert "1881" not in said
        assert "bob@" not in said
        assert LABEL in said
        asked = {
            "model": "claude-sonnet-4-20250514",
            "max_tokens": 99,
            "messages": [_say(f"{marker} {stream}")],
            "tools": [{"name": "pay", "input_schema": schema}],
            "stream": stream,
        }
        said = healthy.http.post("/v1/messages", json=asked).text
        assert "1881" not in said
        assert LABEL in said


@pytest.mark.parametrize("stream", [False, True])
def test_a_number_in_digits_of_another_script_is_redacted(healthy: System, stream: bool) -> None:
    """In the question and in the answer: the check failed at it, when the answer had been paid for."""
    marker, card = f"m{uuid.uuid4().hex}", "٤٠١٢٨٨٨٨٨٨٨٨١٨٨١"
    healthy.behave(answers=[{"prompt_contains": marker, "text": f"It is {card} and 999999999999٩."}])
    said = healthy.chat(f"{marker} is ４１１１１１１１１１１１１１１１ {stream}", stream=stream)
    assert (said.status_code, card in said.text, LABEL in said.text) == (200, False, True), said.text
    assert all("１１１１" not in body and LABEL in body for body in healthy.received(marker))
    assert healthy.row(said.headers["x-request-id"])["status"] == "answered"
