"""Names to addresses, and only to those that a webhook may be sent to.

The connection is made to the very addresses that were checked: a name that changes between the check and the
connection (DNS rebinding) changes nothing.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from aiohttp.abc import AbstractResolver, ResolveResult

from streams.errors import HeadraceError
from streams.webhook_targets import Targets

#: Returns the addresses of a host, as `socket.getaddrinfo` does.
LookUp = Callable[[str, int], Awaitable[list[tuple[socket.AddressFamily, str]]]]


class ForbiddenTarget(HeadraceError):
    """A webhook names a host that it may not be sent to."""


async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """Ask the system's resolver.

    Raises:
        OSError: it knows no such host.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class GuardedResolver(AbstractResolver):
    """Resolves names for aiohttp.

    Args:
        targets: which addresses are allowed.
        look_up: returns a host's addresses.
    """

    def __init__(self, targets: Targets, *, look_up: LookUp = look_up) -> None:
        self._targets = targets
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of a host.

        Raises:
            ForbiddenTarget: it has none.
            OSError: there is no such host.
        """
        found = await self._look_up(host, port)
        wanted = [each for each in found if family in (socket.AF_UNSPEC, each[0])]
        allowed = [each for each in wanted if self._targets.allows(each[1])]
        if wanted and not allowed:
            raise ForbiddenTarget(f"{host} is {wanted[0][1]}, an address that is not allowed")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family_found,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for family_found, address in allowed
        ]

    async def close(self) -> None:
        """Nothing is held."""
