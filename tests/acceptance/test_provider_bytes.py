"""What providers really send, through the whole system: the right text and the right money, or a reason."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings

from tests.acceptance.conftest import System, unique
from tests.acceptance.raw_answers import JSON, events, raw, whole
from tests.acceptance.test_audit import audit, breaking, now
from tests.agents.llm.any_bytes import Said, answers

pytestmark = pytest.mark.acceptance

CLAUDE = "claude-sonnet-4-20250514"
SPENT = {"input_tokens": 20, "output_tokens": 5}
TEXT = "Hi 😀!\ufffd"
COMPLETION = {"prompt_tokens": 20, "completion_tokens": 5}


def chunk(content: str, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}], **fields}


HALVES = {
    ("gpt-4o", True): events(
        chunk("Hi \ud83d"), chunk("\ude00!"), chunk("\ud83d", "stop", usage=COMPLETION), "[DONE]"
    ),
    ("gpt-4o", False): [
        whole(
            {
                "choices": [{"message": {"content": "Hi \ud83d\ude00!\ud83d"}, "finish_reason": "stop"}],
                "usage": COMPLETION,
            }
        )
    ],
    (CLAUDE, True): events(
        {"type": "message_start", "message": {"model": CLAUDE, "usage": {"input_tokens": 20}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi \ud83d"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\ude00!"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\ud83d"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ),
    (CLAUDE, False): [
        whole(
            {
                "type": "message",
                "model": CLAUDE,
                "content": [{"type": "text", "text": "Hi \ud83d\ude00!\ud83d"}],
                "stop_reason": "end_turn",
                "usage": SPENT,
            }
        )
    ],
}


@pytest.mark.parametrize(("model", "stream"), HALVES)
def test_a_text_in_halves_is_told_paid_once_and_kept(healthy: System, model: str, stream: bool) -> None:
    """In the stream, the reply, the cache and the row it is the same; it was lost before, and paid for."""
    since, question = now(), unique("Which face?")
    content_type = "text/event-stream" if stream else JSON
    healthy.behave(
        raw_answers=[raw(question[-30:], *HALVES[model, stream], content_type=content_type, bill=SPENT)]
    )
    if stream:
        told = healthy.chat(question, model=model, stream=True).text
        assert "".join(re.findall(r'"token": ?"([^"]*)"', told)) == TEXT
    first = healthy.chat(question, model=model).json()
    assert (first["response"], first["cache_hit"]) == (TEXT, stream)
    again = healthy.chat(question, model=model).json()
    assert (again["response"], again["cache_hit"]) == (TEXT, True)
    assert healthy.row(first["request_id"])["status"] == ("cached" if stream else "answered")
    query = "SELECT reply_text FROM payloads WHERE request_id = {id:String}"
    assert [row["reply_text"] for row in healthy.sql(query, id=first["request_id"])] == [TEXT]
    code, report = audit(healthy, since, "--wait", "60")
    assert (code, breaking(report)) == (0, {})


@pytest.mark.parametrize("stream", [False, True])
def test_half_an_answer_does_not_look_whole(healthy: System, stream: bool) -> None:
    """`error` behind half a text is a failed attempt, and booked; the next one answers."""
    since, question = now(), unique("How does the mill go on?")
    half = events(chunk("Half of"), chunk("", "error", usage=COMPLETION), "[DONE]")
    healthy.behave(
        raw_answers=[raw(question[-30:], *half, bill=SPENT, next_calls=1)],
        answers=[{"prompt_contains": question[-30:], "text": "The whole."}],
    )
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": question}], "stream": stream}
    reply = healthy.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200
    assert stream or reply.json()["choices"][0]["message"]["content"] == "The whole."
    request_id = reply.headers["x-request-id"]
    row = healthy.row(request_id)
    calls = healthy.sql(
        "SELECT error, input_tokens, output_tokens FROM llm_calls "
        "WHERE request_id = {id:String} ORDER BY attempt",
        id=request_id,
    )
    assert (row["status"], len(calls)) == ("answered", 2)
    assert calls[0] == {"error": "server_error", **SPENT}
    code, report = audit(healthy, since, "--wait", "60")
    assert (code, breaking(report)) == (0, {})


def some_answers(count: int) -> list[Said]:
    """Odd answers, always the same ones."""
    found: list[Said] = []

    @settings(max_examples=count, derandomize=True, database=None, phases=[Phase.generate])
    @given(said=answers())
    def collect(said: Said) -> None:
        found.append(said)

    collect()
    return found


def test_whatever_bytes_come_every_request_has_one_reply(healthy: System) -> None:
    """Odd answers of both providers, whole and streamed: no dead letter, and the books balance."""
    since, said = now(), some_answers(48)
    markers = [uuid.uuid4().hex for _ in said]
    healthy.behave(
        raw_answers=[
            raw(
                marker,
                *each.pieces,
                headers=dict(each.headers),
                status=each.status,
                end="cut" if each.cut else "clean",
                next_calls=1,
                bill=SPENT if each.status == 200 else None,
            )
            for marker, each in zip(markers, said, strict=True)
        ]
    )

    def ask(number: int) -> httpx.Response:
        model = CLAUDE if said[number].api == "anthropic" else "gpt-4o"
        message = {"role": "user", "content": f"What about {markers[number]}?"}
        body = {"model": model, "messages": [message], "stream": number % 2 == 0, "user": f"u{number}"}
        return healthy.http.post("/v1/chat/completions", json=body)

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(ask, range(len(said))))
    assert all(reply.status_code in {200, 400, 503} for reply in replies), replies
    assert all(reply.text for reply in replies)
    _, report = audit(healthy, since, "--wait", "60")
    # What these answers say that they have spent, and what is billed for them, have nothing in common.
    assert breaking(report).keys() <= {"calls_mispriced", "calls_misestimated"}, report["findings"]
    figures = report["figures"]
    assert (figures["accepted"], figures["dead_lettered"], figures["open"]) == (len(said), 0, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (r'{"a": "\ud83d x"}', "\ufffd x"),
        ('{"a": ' + "[" * 3_000 + "]" * 3_000 + "}", "A model was called, and charged"),
    ],
)
def test_what_a_model_says_to_a_tool_can_be_told_in_anthropics_words(
    healthy: System, stream: bool, arguments: str, told: str
) -> None:
    """Where it is JSON; else the error says what it has cost. The connection was cut off before."""
    marker = uuid.uuid4().hex
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    said = {
        "choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}],
        "usage": COMPLETION,
    }
    healthy.behave(raw_answers=[raw(marker, whole(said), content_type=JSON, bill=SPENT)])
    asked = {
        "model": "gpt-4o",
        "max_tokens": 9,
        "stream": stream,
        "messages": [{"role": "user", "content": marker}],
    }
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    reply = healthy.http.post("/v1/messages", json=asked | {"tools": tools})
    assert told in reply.text
    assert reply.status_code == 200 or reply.headers["x-should-retry"] == "false"
    assert healthy.row(reply.headers["x-request-id"])["status"] == "answered"
