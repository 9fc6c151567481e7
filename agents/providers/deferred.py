"""A provider whose client is loaded while its worker already joins its consumer groups."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from agents.providers.port import Answer, Provider, ProviderCall, ProviderEvent
from streams.models import ProviderName


class Deferred:
    """Loads a provider in a thread; its first calls wait for that.

    The import of an official client takes a second, and a worker that was killed should serve its partitions
    again before that.

    Args:
        name: the provider's name.
        load: imports and makes it.
    """

    def __init__(self, name: ProviderName, load: Callable[[], Provider]) -> None:
        self.name = name
        self._loading = asyncio.ensure_future(asyncio.to_thread(load))

    async def complete(self, call: ProviderCall) -> Answer:
        """Return the whole answer."""
        return await (await self._loaded()).complete(call)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece, and last the whole `Answer`."""
        async with aclosing((await self._loaded()).stream(call)) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Close the connections."""
        await (await self._loaded()).aclose()

    async def _loaded(self) -> Provider:
        return await asyncio.shield(self._loading)
