"""Resolves the names of receivers, and allows only addresses that a webhook may be sent to.

The connection is made to the checked address itself. So a name that changes between check and connection (DNS
rebinding) has no effect.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

import msgspec
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from streams.errors import HeadraceError
from streams.webhooks.targets import Service, Targets, address_of

#: Returns the addresses of a host, as `socket.getaddrinfo` does.
LookUp = Callable[[str, int], Awaitable[list[tuple[socket.AddressFamily, str]]]]

#: How many addresses of a name are tried.
_MAX_ADDRESSES = 8
#: How long the addresses of our own services are cached, and the time limit for resolving them.
_OWN_FOR_S = 30.0
_OWN_WITHIN_S = 2.0
#: Errors of a name that does not exist, or has no address.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class ForbiddenTarget(HeadraceError):
    """A webhook names a host that it may not be sent to."""


class ServiceUnresolved(HeadraceError):
    """The name of one of our own services cannot be resolved, so webhooks cannot be kept away from it."""


class SystemResolver:
    """Asks the system's resolver, in threads of its own: a slow name server must not block others."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-names")

    async def __call__(self, host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        """Return the addresses of a host; `OSError` for none."""
        resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, resolve)
        return [(family, str(address[0])) for family, _, _, _, address in found]

    def close(self) -> None:
        """Resolve no more names; the threads end with their last answer."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class TargetGuard:
    """Says which addresses may be connected to. It resolves the names of our own services to exclude them."""

    def __init__(
        self, targets: Targets, *, look_up: LookUp, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._named = [each for each in targets.services if address_of(each.host) is None]
        self._resolved: dict[Service, frozenset[Service]] = {}
        self._stale_at = float("-inf")
        self._fresh = asyncio.Lock()
        self._given = self.targets = targets

    async def refresh(self) -> None:
        """Resolve our own services' names, if the cache is stale. One that is not found keeps its addresses.

        Raises `ServiceUnresolved` for one that was never resolved, and may be in an allowed network.
        """
        async with self._fresh:
            if self._clock() < self._stale_at:
                return
            await asyncio.gather(*(self._resolve(each) for each in self._named))
            known = frozenset[Service]().union(*self._resolved.values())
            self.targets = msgspec.structs.replace(
                self._given, services=frozenset(self._given.services) | known
            )
            self._stale_at = self._clock() + _OWN_FOR_S

    async def _resolve(self, service: Service) -> None:
        try:
            async with asyncio.timeout(_OWN_WITHIN_S):
                found = await self._look_up(service.host, service.port)
        except OSError as fault:
            unknown = service not in self._resolved and fault.errno not in _NO_SUCH_NAME
            if unknown and self._given.networks:
                raise ServiceUnresolved(f"{service.host}, a service of ours, cannot be resolved") from fault
            return
        self._resolved[service] = frozenset(
            msgspec.structs.replace(service, host=address.partition("%")[0]) for _, address in found
        )

    def refusal(self, host: str, address: str, port: int) -> ForbiddenTarget | None:
        """Return why no connection may be made to an address of a host; None where one may."""
        objection = self.targets.objection(ip_address(address.partition("%")[0]), port)
        if objection is None:
            return None
        return ForbiddenTarget(f"{host} is {address}, an address that is not allowed: it {objection}")

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """Return the socket of a connection; `ForbiddenTarget` for its address, however it was resolved."""
        family, kind, protocol, _, address = info
        if refusal := self.refusal("the host", str(address[0]), int(address[1])):
            raise refusal
        return socket.socket(family=family, type=kind, proto=protocol)


class GuardedResolver(AbstractResolver):
    """Resolves names for aiohttp, to the addresses that the guard allows."""

    def __init__(self, guard: TargetGuard, *, look_up: LookUp) -> None:
        self._guard = guard
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of a host, a few at most; `ForbiddenTarget` where none is allowed."""
        found = await self._look_up(host, port)
        wanted = [each for each in found if family in (socket.AF_UNSPEC, each[0])]
        refusals = [self._guard.refusal(host, address, port) for _, address in wanted]
        allowed = [each for each, refusal in zip(wanted, refusals, strict=True) if refusal is None]
        if not allowed and refusals and refusals[0]:
            raise refusals[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family_found,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for family_found, address in allowed[:_MAX_ADDRESSES]
        ]

    async def close(self) -> None:
        """Nothing to close."""
