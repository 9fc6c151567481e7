"""A good HTTP client of Headrace: what fails on the way is sent again with the same `Idempotency-Key`."""

import asyncio
import json
import random
from typing import Any

import aiohttp
import msgspec

from bench.chaos.submissions import STREAMED, Answer

#: A response that has not come by then is asked for again.
_TIMEOUT = aiohttp.ClientTimeout(total=120.0, sock_connect=5.0)
_GIVE_UP_S = 600.0
_MAX_PAUSE_S = 2.0
_POLL_S = 3.0
_TERMINAL = frozenset({"answered", "cached", "degraded", "blocked", "failed", "cancelled"})
_AGAIN = frozenset({502, 503})


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What the client ended up with."""

    status: int
    request_id: str | None
    body: dict[str, Any]


class BrokenStream(Exception):
    """A stream that ended without its end mark: to be asked for again."""


class HttpClient:
    """Asks over HTTP.

    Args:
        base_url: of ingest.
        api_key: ours.
        chance: draws the pauses between two tries.
    """

    def __init__(self, base_url: str, api_key: str, chance: random.Random) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._chance = chance
        self._session: aiohttp.ClientSession | None = None
        self.retries = 0
        self.timeouts = 0

    async def start(self) -> None:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            self._base_url,
            headers=self._headers,
            timeout=_TIMEOUT,
            connector=aiohttp.TCPConnector(limit=0, force_close=False),
        )

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, path: str, body: dict[str, Any], key: str) -> Response:
        """Post until there is an answer; streams are read to their end.

        Raises:
            TimeoutError: no answer at all.
        """
        return await self._persist("POST", path, body, {"Idempotency-Key": key})

    async def fetch(self, request_id: str) -> Response:
        """Poll a request that was accepted with a 202 until it is answered.

        Raises:
            TimeoutError: it never was.
        """
        async with asyncio.timeout(_GIVE_UP_S):
            while True:
                await asyncio.sleep(_POLL_S)
                response = await self._persist("GET", f"/v1/requests/{request_id}", None, {})
                if response.status != 200 or response.body["status"] in _TERMINAL:
                    return response

    async def cancel(self, request_id: str) -> None:
        """Ask that a request be cancelled; whether it still can be is Headrace's business."""
        await self._persist("DELETE", f"/v1/requests/{request_id}", None, {})

    async def leave_early(self, path: str, body: dict[str, Any], key: str, *, after_s: float) -> None:
        """Post, and hang up before the answer is there."""
        try:
            async with asyncio.timeout(after_s):
                await self._try("POST", path, body, {"Idempotency-Key": key})
        except (aiohttp.ClientError, OSError, TimeoutError, BrokenStream):
            pass

    async def _persist(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> Response:
        async with asyncio.timeout(_GIVE_UP_S):
            while True:
                pause_s = self._chance.uniform(0.1, _MAX_PAUSE_S)
                try:
                    response = await self._try(method, path, body, headers)
                    if response.status not in _AGAIN or method == "DELETE":
                        return response
                except TimeoutError:
                    self.timeouts += 1
                except (aiohttp.ClientError, OSError, BrokenStream):
                    pass
                self.retries += 1
                await asyncio.sleep(pause_s)

    async def _try(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> Response:
        assert self._session is not None  # noqa: S101  # started before anything is asked
        async with self._session.request(method, path, json=body, headers=headers) as response:
            request_id = response.headers.get("X-Request-ID")
            if response.content_type == "text/event-stream":
                content = await _read_stream(response)
                return Response(status=response.status, request_id=request_id, body={"streamed": content})
            text = await response.text()
        return Response(status=response.status, request_id=request_id, body=json.loads(text) if text else {})


async def _read_stream(response: aiohttp.ClientResponse) -> str:
    """Return the text of a stream.

    Raises:
        BrokenStream: it ended early, or with an error.
    """
    tokens: list[str] = []
    async for raw in response.content:
        line = raw.decode().strip()
        if line == "event: reset":
            tokens.clear()
        elif line == "data: [DONE]":
            return "".join(tokens)
        elif line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise BrokenStream(str(event["error"]))
            tokens.append(event.get("token", ""))
    raise BrokenStream("no end mark")


def answer_of(response: Response) -> Answer:
    """Return what a response says, in the words of a reply."""
    body = response.body
    if response.status >= 400:
        return Answer.of("failed", str(body.get("error", {}).get("code")), "")
    if "streamed" in body:
        return Answer.of(STREAMED, None, body["streamed"])
    code = body.get("code") or (body.get("error") or {}).get("code")
    return Answer.of(body["status"], code, body.get("response", body.get("content", "")))
