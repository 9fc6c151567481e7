"""The body of a provider's answer as JSON values, whether it comes whole or as server-sent events.

The first byte alone decides which: servers name wrong content types, answer with one JSON object where a
stream was asked for, and with a stream where none was.
"""

import asyncio
import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec

from agents.providers.answers.encodable import decoded
from agents.providers.faults import ConnectionLost, Malformed
from agents.providers.http_client import HTTP_ERRORS

#: One event: more than the largest answer (`streams.topics.MAX_ANSWER_BYTES`), all of it escaped.
MAX_EVENT_BYTES = 32 * 1024 * 1024
_LINE_END = re.compile(b"\r\n|\r|\n")
#: The embeddings of 2,048 texts, 3,072 numbers each, written out.
MAX_EMBEDDINGS_BYTES = 128 * 1024 * 1024
#: A stream: 128,000 tokens in events of 2 kB.
MAX_STREAM_BYTES = 256 * 1024 * 1024
#: The value that `[DONE]` is.
DONE = object()
_DRAIN_S = 0.5
_SPACE = b" \t\r\n"


class ServerSentEvent(msgspec.Struct, frozen=True):
    """One event: its name, empty where it has none, and its data, lines joined by line feeds.

    `is_cut`: the end of the stream has ended it.
    """

    name: str
    data: str
    is_cut: bool = False


class EventStream:
    r"""Reads one stream of server-sent events, as the HTML standard has them and as others write them.

        events = EventStream()
        [*events.feed(b'data: {"a": 1}\r\n')]  # []
        [*events.feed(b"\r\n")]  # [ServerSentEvent(name="", data='{"a": 1}')]

    Beyond the standard, a line of bare JSON is an event of its own, and so is llama.cpp's `error: {…}`; an
    event that the end of the stream ends, instead of a blank line, is one too.
    """

    def __init__(self) -> None:
        self.known = False  # whether any line was of an event stream at all
        self._begun = False
        self._line = bytearray()
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that end within the piece."""
        at = 1 if self._after_cr and piece.startswith(b"\n") else 0
        for end in _LINE_END.finditer(piece, at):
            self._line += piece[at : end.start()]
            yield from self._take_line()
            at = end.end()
        self._line += piece[at:]
        self._after_cr = piece.endswith(b"\r") if piece else self._after_cr
        if self._size + len(self._line) > MAX_EVENT_BYTES:
            raise Malformed(f"an event of the stream is longer than {MAX_EVENT_BYTES} bytes")

    def end(self) -> Iterator[ServerSentEvent]:
        """Yield the events that the end of the stream ends."""
        if self._line:
            yield from self._take_line(is_cut=True)
        yield from self._end_event(is_cut=True)

    def _take_line(self, *, is_cut: bool = False) -> Iterator[ServerSentEvent]:
        raw = bytes(self._line)
        self._line.clear()
        if not self._begun:
            raw, self._begun = raw.removeprefix(codecs.BOM_UTF8), True
        line = decoded(raw)
        if not line:
            yield from self._end_event(is_cut=is_cut)
        elif line.startswith("{"):
            yield from self._end_event(is_cut=is_cut)
            yield ServerSentEvent("", line, is_cut)
        else:
            self._take_field(line)

    def _take_field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        self.known = self.known or name in {"", "data", "event", "id", "retry", "error"}
        if name == "error" and value:
            self._name = "error"
        elif name == "event":
            self._name = value
        if name in {"data", "error"}:
            self._data.append(value)
            self._size += len(line)

    def _end_event(self, *, is_cut: bool = False) -> Iterator[ServerSentEvent]:
        data, name = "\n".join(self._data), self._name
        says = data.strip() or (self._data and name == "error")  # others only keep the connection open
        self._data, self._name, self._size = [], "", 0
        if says:
            yield ServerSentEvent(name, data, is_cut)


class Value(msgspec.Struct, frozen=True):
    """One JSON value, or `DONE`, and the name of the event that it came in.

    `whole`: it is the whole body, which is no stream of events.
    """

    json: Any
    name: str = ""
    whole: bool = False


class AnswerBody:
    """The body of one answer, read once."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._pieces = _bounded(response.content.iter_any(), MAX_STREAM_BYTES)
        self._ended = False

    async def values(self) -> AsyncGenerator[Value]:
        """Yield the JSON values; nothing after `DONE`.

        Raises:
            Malformed: the body is neither JSON nor events, or too long.
            ConnectionLost: it ends amid an event.
            aiohttp.ClientError, HttpProcessingError: it breaks off, or is no HTTP.
        """
        first = await _first(self._pieces)
        if first.startswith((b"{", b"[")):
            rest = await _rest(self._pieces, MAX_EVENT_BYTES - len(first))
            yield Value(_decode_json(first + rest), whole=True)
            return
        stream = EventStream()
        if first and not first.startswith(b"<"):
            async for event in self._events(stream, first):
                for value in _values_of(event):
                    self._ended = value is DONE
                    yield Value(value, event.name)
                    if self._ended:
                        return
        if not stream.known:
            raise Malformed(f"the answer is {_what(first, self._response)}, not JSON or a stream of events")

    async def _events(self, stream: EventStream, first: bytes) -> AsyncGenerator[ServerSentEvent]:
        for event in stream.feed(first):
            yield event
        async for piece in self._pieces:
            for event in stream.feed(piece):
                yield event
        for event in stream.end():
            yield event

    async def aclose(self) -> None:
        """Close the response, and its connection unless the body has been read to its end.

        After `DONE` the rest of the body is read where it is there: the connection then serves other calls.
        """
        try:
            if self._ended:
                with suppress(TimeoutError, *HTTP_ERRORS, Malformed):
                    async with asyncio.timeout(_DRAIN_S):
                        async for _ in self._pieces:
                            pass
        finally:
            await self._pieces.aclose()
            self._response.close()


async def whole_json(response: aiohttp.ClientResponse) -> object:
    """Return the one JSON value that a body is.

    Raises:
        Malformed: it is not JSON, or longer than `MAX_EMBEDDINGS_BYTES`.
        aiohttp.ClientError, HttpProcessingError: it breaks off, or is no HTTP.
    """
    return _decode_json(await _rest(response.content.iter_any(), MAX_EMBEDDINGS_BYTES))


async def _bounded(pieces: AsyncIterator[bytes], most: int) -> AsyncGenerator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > most:
            raise Malformed(f"the answer is longer than {most} bytes")
        yield piece


def _decode_json(data: bytes | str) -> Any:
    """Return a JSON value; halves of characters are left in it."""
    text = decoded(data) if isinstance(data, bytes) else data
    try:
        value: Any = _JSON.decode(text.removeprefix("\ufeff"))
    except RecursionError as fault:
        raise Malformed("the answer is JSON that is nested too deeply") from fault
    except ValueError as fault:
        raise Malformed(f"the answer is not JSON: {fault}") from fault
    return value


def _no_number(_name: str) -> None:
    """Stands for `NaN` and the infinities, which JSON has not: no answer is lost for a number in it."""


_JSON = json.JSONDecoder(parse_constant=_no_number)


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    """Return what comes first, from its first byte that is no white space, without a byte order mark."""
    begun = b""
    async for piece in pieces:
        begun = (begun + piece).lstrip(_SPACE)
        first = begun.removeprefix(codecs.BOM_UTF8).lstrip(_SPACE)
        if first and not codecs.BOM_UTF8.startswith(first):
            return first
    return b""


async def _rest(pieces: AsyncIterator[bytes], most: int) -> bytes:
    return b"".join([piece async for piece in _bounded(pieces, most)])


def _values_of(event: ServerSentEvent) -> list[Any]:
    """Return the value of an event; the values of its lines where blank lines between events are missing."""
    try:
        return [_value(event.data)]
    except Malformed as fault:
        if event.name == "error":
            return [event.data]
        try:
            if "\n" in event.data:
                return [_value(line) for line in event.data.split("\n") if line]
        except Malformed:
            pass
        if event.is_cut:
            raise ConnectionLost("the stream ended amid an event") from fault
        raise


def _value(data: str) -> Any:
    return DONE if data.strip() == "[DONE]" else _decode_json(data)


def _what(first: bytes, response: aiohttp.ClientResponse) -> str:
    kind = response.headers.get("content-type", "of no content type")[:100]
    if not first:
        return f"empty ({kind})"
    return f"an HTML page ({kind})" if first.startswith(b"<") else f"something else ({kind})"
