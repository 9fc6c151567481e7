"""The memory of each role during a run."""

import asyncio
from contextlib import suppress

import psutil

from bench.chaos.system import System
from streams.errors import HeadraceError

_EVERY_S = 3.0
_MIB = 1024 * 1024


class Memory:
    """Samples the resident memory of every process of the system.

    Args:
        system: whose.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self.most_mib: dict[str, int] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            with suppress(HeadraceError, OSError):
                for process in self._system.home.status().processes:
                    if process.pid is not None:
                        self._note(process.role, process.pid)
            await asyncio.sleep(_EVERY_S)

    def _note(self, role: str, pid: int) -> None:
        with suppress(psutil.Error):
            mib = psutil.Process(pid).memory_info().rss // _MIB
            self.most_mib[role] = max(self.most_mib.get(role, 0), mib)
