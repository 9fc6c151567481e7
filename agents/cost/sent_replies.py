"""Remembers the terminal replies that this process has sent, for the time in which Redis does not answer.

All outcomes of a request have the same key, so the same process reads them. While Redis is away, this memory
recognises a second outcome. A reply that was sent without Redis is stored in Redis before the stage handles
another outcome of its request. When the process ends, the memory is lost: then only Redis knows.
"""

from collections import OrderedDict
from typing import TypeVar

import msgspec

from agents.cost.reply_log_ledger import terminal_reply
from agents.stage import Record
from streams.events import Envelope, OutcomeReached, Reply
from streams.registry.entries import taken_out

#: A quarter of an hour at 20 requests a second; 200 bytes each.
_MAX_STORED = 20_000
_MAX_UNSTORED = 5_000

T = TypeVar("T")


class _Unstored(msgspec.Struct, frozen=True):
    """A reply that went out and is not in Redis, without its vectors, and the record that brought it."""

    record: str
    reply: Reply


class SentReplies:
    """The newest run of each request that was replied to. The number is bounded: the oldest are forgotten."""

    def __init__(self) -> None:
        self._stored: OrderedDict[str, int] = OrderedDict()
        self._unstored: OrderedDict[str, _Unstored] = OrderedDict()
        self._leaving: OrderedDict[str, Reply] = OrderedDict()

    def knows(self, envelope: Envelope) -> bool:
        """Whether this run of the request, or a later one, was replied to from here."""
        request_id, replay = envelope.request_id, envelope.replay
        unstored = self._unstored.get(request_id)
        return self._stored.get(request_id, -1) >= replay or (
            unstored is not None and unstored.reply.replay >= replay
        )

    def unstored(self, event: OutcomeReached, record: Record) -> Reply | None:
        """Return the reply of this run that is still to be stored; whole where `event` is what it came of."""
        found = self._unstored.get(event.envelope.request_id)
        if found is None or found.reply.replay != event.envelope.replay:
            return None
        return terminal_reply(event) if found.record == record.address else found.reply

    def note_leaving(self, reply: Reply, record: Record) -> None:
        """Note a reply that is handed to the broker without Redis. It counts once the broker has it."""
        _put(self._leaving, record.address, taken_out(reply)[0], _MAX_UNSTORED)

    def note_sent(self, record: Record) -> None:
        """Note that the broker has what came of a record."""
        reply = self._leaving.pop(record.address, None)
        if reply is not None:
            _put(self._unstored, reply.request_id, _Unstored(record.address, reply), _MAX_UNSTORED)

    def note_stored(self, envelope: Envelope) -> None:
        """Note that a reply to this run is out, and that Redis has it."""
        self._unstored.pop(envelope.request_id, None)
        _put(self._stored, envelope.request_id, envelope.replay, _MAX_STORED)


def _put(kept: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)
