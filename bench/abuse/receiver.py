"""A receiver of the witness's webhooks: notes which requests it was told of."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import Self

from aiohttp import web

from bench.abuse.forged import MARK


class Receiver:
    """Listens on a free port of the loopback."""

    def __init__(self) -> None:
        self.url = ""
        self._told: Counter[str] = Counter()
        self._wrong: list[str] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/told"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def wait_for(self, count: int, *, timeout_s: float) -> None:
        """Wait until so many requests were told of, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(self._told) < count:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.1)

    def faults(self, expected: set[str]) -> list[str]:
        """Return what came that should not, and what did not come."""
        missing, extra = expected - set(self._told), set(self._told) - expected
        return [
            *self._wrong[:5],
            *([f"{len(missing)} webhooks are missing: {sorted(missing)[:3]}"] if missing else []),
            *([f"{len(extra)} webhooks of nobody's request: {sorted(extra)[:3]}"] if extra else []),
        ]

    async def _take(self, request: web.Request) -> web.Response:
        text = await request.text()
        with suppress(ValueError, KeyError):
            self._told[json.loads(text)["request_id"]] += 1
        if MARK in text or request.method != "POST":
            self._wrong.append(f"a forged webhook: {request.method} {text[:200]}")
        return web.Response()
