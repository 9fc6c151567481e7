r"""Server-sent events from bytes, as the HTML standard has them and as others write them.

    events = EventStream()
    [*events.feed(b'data: {"a": 1}\r\n')]  # []
    [*events.feed(b"\r\n")]  # [ServerSentEvent(name="", data='{"a": 1}')]
    [*events.end()]  # []

Beyond the standard, a line of bare JSON is an event of its own, and so is llama.cpp's `error: {…}`; an event
that the end of the stream ends, instead of a blank line, is one too.
"""

import codecs
import re
from collections.abc import Iterator

import msgspec

from agents.providers.answers.encodable import decoded
from agents.providers.faults import Malformed

#: One event: more than the largest answer (`streams.topics.MAX_ANSWER_BYTES`), all of it escaped.
MAX_EVENT_BYTES = 32 * 1024 * 1024
_LINE_END = re.compile(b"\r\n|\r|\n")


class ServerSentEvent(msgspec.Struct, frozen=True):
    """One event: its name, empty where it has none, and its data, lines joined by line feeds.

    `is_cut`: the end of the stream has ended it.
    """

    name: str
    data: str
    is_cut: bool = False


class EventStream:
    """Reads one stream; see `decoded` for bytes that are no UTF-8.

    Attributes:
        known: whether any line was of an event stream at all.
    """

    def __init__(self) -> None:
        self.known = False
        self._begun = False
        self._line = bytearray()
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that end within the piece.

        Raises:
            Malformed: an event is longer than `MAX_EVENT_BYTES`.
        """
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
