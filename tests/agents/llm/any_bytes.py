"""Whatever a provider might send: documented answers of both APIs, and what small changes make of them."""

import copy
import gzip
import json
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from agents.providers.answers.encodable import encodable
from tests.agents.providers.odd_servers import (
    STARTED,
    STOPPED,
    block,
    delta,
    ended,
    message,
    partial,
    piece,
    tool,
    whole,
)

APIS = ("openai", "anthropic")

_texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        ["Hi \ud83d", "\ude00!", "\x00", "\u2028", "[DONE]", "error", "length", "text", "tool_use", "7"]
    ),
)
_numbers = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 10**30, 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf"), True]),
)
_keys = st.sampled_from(
    "index id type text content delta error message finish_reason stop_reason usage choices tool_calls "
    "function name arguments input partial_json code status role prompt_tokens completion_tokens "
    "input_tokens output_tokens".split()
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(_keys, _texts), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Any JSON value, and numbers and characters that JSON has not."""

_arguments = st.sampled_from(['{"a":', " 1}", "{}", "{", '"\ud83d'])
_usage = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.integers(0, 200), _numbers)
        for name in (
            "prompt_tokens",
            "completion_tokens",
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
        )
    },
)
_openai = st.one_of(
    st.builds(delta, _texts),
    st.builds(delta, _texts, st.sampled_from(["stop", "length", "error", "STOP", "odd", "", None])),
    st.builds(lambda usage: {**delta(finish="stop"), "usage": usage}, _usage),
    st.builds(
        lambda index, name, text: tool(index=index, id=name, function={"name": name, "arguments": text}),
        st.sampled_from([0, 1, None]),
        st.sampled_from(["f", "g", "", None]),
        _arguments,
    ),
    st.builds(whole, _texts),
    st.just("[DONE]"),
)
_anthropic = st.one_of(
    st.just(STARTED),
    st.builds(block, st.integers(0, 2), text=_texts),
    st.builds(piece, _texts, st.integers(0, 2)),
    st.builds(block, st.integers(0, 2), st.just("tool_use"), id=_texts, name=_texts, input=st.just({})),
    st.builds(partial, _arguments, st.integers(0, 2)),
    st.builds(ended, st.sampled_from(["end_turn", "tool_use", "max_tokens", "odd", None]), _usage),
    st.builds(lambda text: message([{"type": "text", "text": text}]), _texts),
    st.just(STOPPED),
)
_error = st.builds(
    lambda inner, around: {"type": "error", "error": inner} if around else {"error": inner},
    st.one_of(_texts, st.dictionaries(_keys, values, max_size=4)),
    st.booleans(),
)


@st.composite
def _changed(draw: st.DrawFn, base: st.SearchStrategy[Any]) -> Any:
    """A value of which one place has become something else, or is gone, or stands elsewhere."""
    value = copy.deepcopy(draw(base))
    at, above = value, []
    while isinstance(at, dict | list) and at and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else draw(st.integers(0, len(at) - 1))
        above.append((at, key))
        at = at[key]
    if not above:
        return draw(values)
    parent, key = above[-1]
    match draw(st.integers(0, 2)):
        case 0:
            parent[key] = draw(values)
        case 1:
            del parent[key]
        case _ if isinstance(parent, dict):
            parent[draw(_keys)] = parent.pop(key)
        case _:
            parent.append(copy.deepcopy(parent[key]))
    return value


@st.composite
def _openai_events(draw: st.DrawFn) -> list[Any]:
    """A documented answer of Chat Completions."""
    told: list[Any] = [delta(text) for text in draw(st.lists(_texts, max_size=4))]
    calls = draw(st.integers(0, 2))
    for index in range(calls):
        told.append(tool(index=index, id=f"t{index}", function={"name": "f", "arguments": ""}))
        told += [tool(index=index, function={"arguments": part}) for part in ('{"a":', " 1}")]
    told.append(
        delta(finish="tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"])))
    )
    return [*told, {"choices": [], "usage": draw(_usage)}, "[DONE]"]


@st.composite
def _anthropic_events(draw: st.DrawFn) -> list[Any]:
    """A documented answer of Messages."""
    told: list[Any] = [STARTED, block(text=""), *(piece(text) for text in draw(st.lists(_texts, max_size=4)))]
    calls = draw(st.integers(0, 2))
    for index in range(1, calls + 1):
        told.append(block(index, "tool_use", id=f"t{index}", name="f", input={}))
        told += [partial(part, index) for part in ('{"a":', " 1}")]
    told.append(
        ended(
            "tool_use" if calls else draw(st.sampled_from(["end_turn", "max_tokens", "refusal"])),
            draw(_usage),
        )
    )
    return [*told, STOPPED]


@st.composite
def _almost(
    draw: st.DrawFn, documented: st.SearchStrategy[list[Any]], events: st.SearchStrategy[Any]
) -> list[Any]:
    """A documented answer, or one of which an event or two are gone, doubled, changed or elsewhere."""
    told = draw(documented)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(told) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                told = [*told[:at], *told[at + 1 :]] or told
            case 1:
                told.insert(at, told[at])
            case 2:
                told[at] = draw(_changed(st.just(told[at])))
            case 3:
                told.insert(at, draw(st.one_of(events, _changed(events), _error, values)))
            case _:
                told.insert(draw(st.integers(0, len(told) - 1)), told.pop(at))
    return told


@st.composite
def _stream(draw: st.DrawFn, told: st.SearchStrategy[list[Any]]) -> bytes:
    """Events in any framing."""
    fields = ["data: ", "data: ", "data: ", "data:", ": x\ndata: ", "", "event: error\ndata: "]
    return _framed(draw, draw(told), draw(st.sampled_from(fields)))


def _framed(draw: st.DrawFn, told: list[Any], field: str) -> bytes:
    end = draw(st.sampled_from(["\n\n", "\n\n", "\r\n\r\n", "\r\r", "\n"]))
    return b"".join(_bytes(field) + _json(draw, each) + _bytes(end) for each in told)


def _json(draw: st.DrawFn, value: Any) -> bytes:
    if value == "[DONE]":
        return b"[DONE]"
    return _bytes(json.dumps(value, ensure_ascii=draw(st.booleans())))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


@st.composite
def _damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """The body as it is, mostly; or cut, or with bytes that are gone, doubled or others."""
    at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 9))
    match draw(st.integers(0, 9)):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + body[at + length :]
        case 2:
            return body[: at + length] + body[at:]
        case 3:
            return body[:at] + draw(st.binary(max_size=6)) + body[at:]
        case _:
            return body


_printable = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
_waits = st.sampled_from(
    ["0", "1e300", "-1", "Fri, 20 Nov 2026 09:00:30 GMT", "Fri, 20 Nov 9" + "9" * 30 + " 1:1:1 GMT"]
)


class Said(msgspec.Struct, frozen=True):
    """One answer over HTTP: its status, its body in pieces, how it is framed and how it ends."""

    api: str
    status: int
    pieces: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...]
    cut: bool


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """Any answer of a provider of either API."""
    api = draw(st.sampled_from(APIS))
    events = _openai if api == "openai" else _anthropic
    almost = _almost(_openai_events() if api == "openai" else _anthropic_events(), events)
    any_events = st.lists(st.one_of(events, events, _changed(events), _error, values), max_size=8)
    alone = st.one_of(events, _changed(events), _error, values)
    body = draw(
        st.one_of(
            _stream(almost),
            _stream(almost),
            _stream(almost),
            _stream(any_events),
            alone.map(lambda value: _bytes(json.dumps(value))),
            st.binary(max_size=60),
        )
    )
    body = draw(_damaged(body))
    zipped = draw(st.integers(0, 9)) == 0
    body = gzip.compress(body) if zipped else body
    return Said(
        api=api,
        status=draw(st.sampled_from([*[200] * 20, 302, 400, 401, 429, 500, 529])),
        pieces=_cut(draw, body),
        headers=(
            ("content-type", draw(st.sampled_from(["text/event-stream", "application/json", "text/html"]))),
            ("retry-after", draw(st.one_of(_waits, st.text(_printable, max_size=9)))),
            *([("content-encoding", "gzip")] if zipped != (draw(st.integers(0, 29)) == 0) else []),
        ),
        cut=draw(st.integers(0, 9)) == 0,
    )


def _cut(draw: st.DrawFn, body: bytes) -> tuple[bytes, ...]:
    """The body in pieces, cut anywhere."""
    ends = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=4))})
    return tuple(body[start:end] for start, end in pairwise(ends))


class Documented(msgspec.Struct, frozen=True):
    """A streamed answer as its API documents it, in pieces, and what it says: its text and its tool calls."""

    api: str
    pieces: tuple[bytes, ...]
    text: str
    calls: int


@st.composite
def documented(draw: st.DrawFn) -> Documented:
    """An answer that must be understood, in any framing that event streams may have, cut anywhere."""
    api = draw(st.sampled_from(APIS))
    told = draw(_openai_events() if api == "openai" else _anthropic_events())
    body = _framed(draw, told, draw(st.sampled_from(["data: ", "data:", ": x\ndata: ", "id: 1\ndata: "])))
    said = json.dumps(told)
    texts = [_text(each) for each in told]
    return Documented(api, _cut(draw, body), encodable("".join(texts)), said.count('"name": "f"'))


def _text(event: Any) -> str:
    if not isinstance(event, dict):
        return ""
    choices = event.get("choices") or [{}]
    found: str = (event.get("delta") or choices[0].get("delta") or {}).get("text") or ""
    return found or (choices[0].get("delta") or {}).get("content") or ""
