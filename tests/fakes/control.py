"""Control records in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from streams.control.specs import ControlId
from streams.control.writer import ControlWriter
from streams.events import ControlRecord


class MemoryControl(ControlWriter):
    """Control records without a broker: `versions` is the topic."""

    def __init__(self) -> None:
        super().__init__("unused:1", client_id="rig", timeout_s=1)
        self.versions: dict[ControlId, list[ControlRecord]] = {}

    async def _read(self) -> dict[ControlId, list[ControlRecord]]:
        return self.versions

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Callable[[Sequence[ControlRecord]], Awaitable[None]]]:
        async def write(new: Sequence[ControlRecord]) -> None:
            for each in new:
                self.versions.setdefault(ControlId(each.kind, each.name), []).append(each)

        yield write
