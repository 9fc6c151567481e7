"""A provider whose SDK is loaded while its worker already joins its consumer groups."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

import structlog

from agents.providers.faults import ClientNotLoaded, ProviderTimeout
from agents.providers.provider import (
    AnyCall,
    Embedded,
    EmbeddingCall,
    EmbeddingProvider,
    Provider,
    ProviderCall,
    ProviderEvent,
)
from streams.backoff import Backoff
from streams.models import ProviderName

#: Between two loads: one costs a second of a core, and what makes it fail (a file that is being replaced, no
#: memory) lasts.
_BACKOFF = Backoff(first_s=1.0, max_s=60.0, jitter=0)

P = TypeVar("P", bound=Provider | EmbeddingProvider)

log = structlog.get_logger(__name__)


class _Deferred(Generic[P]):
    """Loads a provider in a thread; its first calls wait for that.

    The import of an SDK takes a second, and a worker that was killed should serve its partitions again before
    that. A load that fails is a fault of this provider, so that others are asked; a later call tries it
    again.

    Args:
        name: the provider's name.
        load: imports and makes it.
        monotonic: a clock, in seconds, for the time between two loads.
    """

    def __init__(
        self,
        name: ProviderName,
        load: Callable[[], P],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._load = load
        self._monotonic = monotonic
        self._failures = 0
        self._not_before = float("-inf")
        self._loading = asyncio.ensure_future(self._loaded_or_fault())

    async def aclose(self) -> None:
        """Close the connections, if there are any."""
        loaded = await self._loading
        if not isinstance(loaded, ClientNotLoaded):
            await loaded.aclose()

    async def _loaded(self, call: AnyCall) -> P:
        if self._has_failed() and self._monotonic() >= self._not_before:
            self._loading = asyncio.ensure_future(self._loaded_or_fault())
        limit_s = min(call.timeouts.first_token_s, call.timeouts.total_s)
        # `wait` leaves the loading alone when the time is over, and when the call is cancelled.
        await asyncio.wait((self._loading,), timeout=limit_s)
        if not self._loading.done():
            raise ProviderTimeout("first_token", after_s=limit_s)
        loaded = self._loading.result()
        if isinstance(loaded, ClientNotLoaded):
            raise ClientNotLoaded(loaded.message)
        return loaded

    def _has_failed(self) -> bool:
        return self._loading.done() and isinstance(self._loading.result(), ClientNotLoaded)

    async def _loaded_or_fault(self) -> P | ClientNotLoaded:
        try:
            provider = await asyncio.to_thread(self._load)
        except Exception as fault:  # noqa: BLE001  # whatever an import raises: others can be asked
            return self._failed(fault)
        if self._failures:
            log.info("provider.loaded_after_all", provider=self.name, failures=self._failures)
        return provider

    def _failed(self, fault: Exception) -> ClientNotLoaded:
        self._failures += 1
        self._not_before = self._monotonic() + _BACKOFF.wait_s(self._failures)
        message = f"the client of {self.name} cannot be loaded ({type(fault).__name__}: {fault})"
        if self._failures == 1:  # once: each call that fails for it has a line of its own
            log.error(
                "provider.not_loaded",
                provider=self.name,
                message=f"{message}; other providers are asked, and loading is tried again; "
                "if it goes on, reinstall Headrace or check the provider's settings",
                exc_info=fault,
            )
        return ClientNotLoaded(message)


class DeferredProvider(_Deferred[Provider]):
    """A provider of answers that is being loaded."""

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer as the provider does.

        Raises:
            ProviderFault: it does not come; `ClientNotLoaded` where the SDK cannot be loaded.
        """
        async with aclosing((await self._loaded(call)).answer(call)) as events:
            async for event in events:
                yield event


class DeferredEmbeddings(_Deferred[EmbeddingProvider]):
    """A provider of embeddings that is being loaded."""

    async def embed(self, call: EmbeddingCall) -> Embedded:
        """Return the vectors of all the texts.

        Raises:
            ProviderFault: there are none; `ClientNotLoaded` where the SDK cannot be loaded.
        """
        return await (await self._loaded(call)).embed(call)
