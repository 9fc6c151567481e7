"""Short work that no response waits for: bounded in number, and waited for when ingest stops."""

import asyncio
from collections.abc import Coroutine
from typing import Any

_MAX_TASKS = 10_000


class DetachedTasks:
    """Tasks beside the HTTP requests. Each ends itself within `timeout_s`, and so does `close`."""

    def __init__(self, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """Start `work`; False if too much runs already, and it is dropped."""
        if len(self._tasks) >= _MAX_TASKS:
            work.close()
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Wait for the work under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.timeout_s)
