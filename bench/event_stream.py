"""A client of `GET /v1/requests/{id}/events` that keeps an answer's text as docs/http.md says."""

import asyncio
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp

#: What a client waits before it connects again; the stream's own `retry` says a second.
RETRY_S = 0.2
_FAULTS = (aiohttp.ClientError, OSError, TimeoutError)


class Follower:
    """Follows one request over as many connections as it takes.

    Args:
        session: whose headers carry the API key.
        request_id: the request.
        on_text: called after each event with text.

    Attributes:
        text: the answer so far.
        last_event_id: of the last event that had one.
        ids: all ids that came with text.
        resets: how often the text was taken back.
        drops: how often a connection ended before the answer did.
        reply: the reply that `done` brought.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        request_id: str,
        *,
        on_text: Callable[["Follower"], None] = lambda _: None,
    ) -> None:
        self._session = session
        self._on_text = on_text
        self.request_id = request_id
        self.text = ""
        self.last_event_id = ""
        self.ids: list[str] = []
        self.resets = 0
        self.drops = 0
        self.reply: dict[str, Any] | None = None

    async def read(self, base: str, *, events: int | None = None, as_parameter: bool = False) -> bool:
        """Follow over one connection, to its end or for so many events with text.

        Args:
            base: the address of a replica.
            events: after how many events with text to drop the connection; None for none.
            as_parameter: the last event's id goes into the address instead of a header.

        Returns:
            Whether the answer has ended.

        Raises:
            aiohttp.ClientError: the connection broke, or the status was not 200. A 503 counts as a drop.
        """
        if events == 0:
            return False
        sent: dict[str, Any] = {}
        if self.last_event_id and as_parameter:
            sent["params"] = {"last_event_id": self.last_event_id}
        elif self.last_event_id:
            sent["headers"] = {"Last-Event-ID": self.last_event_id}
        url = f"{base}/v1/requests/{self.request_id}/events"
        before = len(self.ids)
        async with self._session.get(url, **sent) as response:
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                await asyncio.sleep(RETRY_S)
                return False
            response.raise_for_status()
            fields: dict[str, str] = {}
            async for line in response.content:
                text = line.decode().rstrip("\n")
                if text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                    continue
                self._take(fields)
                fields = {}
                if self.reply is not None:
                    return True
                if events is not None and len(self.ids) - before >= events:
                    response.close()  # in the middle of whatever comes next
                    return False
        return False

    async def read_to_the_end(self, bases: Sequence[str], *, events: int | None = None) -> str:
        """Follow until the answer has ended, connecting again after each drop, and return its text.

        Args:
            bases: the replicas to go to, one after the other, over and over.
            events: after how many events with text to drop each connection; None for none.
        """
        turn = 0
        while True:
            try:
                if await self.read(bases[turn % len(bases)], events=events):
                    return self.text
            except _FAULTS:
                await asyncio.sleep(RETRY_S)
            self.drops += 1
            turn += 1

    def _take(self, fields: dict[str, str]) -> None:
        self.last_event_id = fields.get("id", self.last_event_id)
        match fields.get("event"):
            case "delta":
                self.text += json.loads(fields["data"])["token"]
                self.ids.append(fields["id"])
                self._on_text(self)
            case "reset":
                self.text, self.resets = "", self.resets + 1
            case "done":
                self.reply = json.loads(fields["data"])
