"""The analytics process as the command line starts it, for tests that kill it."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from headrace.embedded.process import free_port

SERVE = "from analytics.main import serve; from streams.settings import load_settings; serve(load_settings())"


class Replica:
    """The process as the command line starts it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = os.environ | environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE],
                env=self._environment | {"HEADRACE_ANALYTICS_PORT": str(self.port)},
                stdout=log,
                stderr=log,
            )

    async def listening(self) -> None:
        """Return when it takes connections: from then on it hears a signal to end in good order."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)

    async def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return await asyncio.to_thread(self._process.wait, 30)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
