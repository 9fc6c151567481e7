"""A Headrace of the suite's own, started and ended as an operator does, and its processes by role."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil

from headrace.up.home import Endpoints, Home, NotRunning, ProcessStatus
from streams.errors import HeadraceError

REPLY_TOPIC = "chaos.replies"

_START_TIMEOUT_S = 180.0
_DOWN_TIMEOUT_S = 150.0
_POLL_S = 0.1
SIMULATOR_KEY = "sk-simulated-by-headrace"
_FOREIGN = ("HEADRACE_", "OPENAI_", "ANTHROPIC_")


class System:
    """One `headrace up` in a folder of its own.

    Args:
        folder: a fresh folder, so that no consumer group has committed anything.
        workers: worker processes.
        environ: settings of its own, by the names of their variables.
    """

    def __init__(
        self, folder: Path, *, workers: int, environ: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.home = Home(folder / "home")
        self._folder = folder
        self._workers = workers
        self._settings = dict(environ)
        self._endpoints: Endpoints | None = None

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is."""
        if self._endpoints is None:
            raise NotRunning("the system was not started")
        return self._endpoints

    @property
    def simulator(self) -> str:
        """The address of the simulated providers."""
        if self.endpoints.simulator is None:
            raise HeadraceError("the chaos suite needs the simulated providers: unset the providers' keys")
        return self.endpoints.simulator

    @property
    def simulator_control(self) -> str:
        """The address of its behaviour and its invoice, with the password."""
        if self.endpoints.simulator_control is None:
            raise HeadraceError("the chaos suite needs the simulated providers: unset the providers' keys")
        return self.endpoints.simulator_control

    def start(self) -> None:
        """Start everything; returns once it is ready."""
        self.headrace(
            "up", "--detach", "--no-demo", "--workers", str(self._workers), timeout_s=_START_TIMEOUT_S
        )
        self._endpoints = self.home.endpoints()

    def stop(self) -> None:
        """End everything, in good order where that works."""
        try:
            supervisor = self.home.status().supervisor_pid
        except NotRunning:
            return
        try:
            self.headrace("down", timeout_s=_DOWN_TIMEOUT_S)
        except BaseException as fault:
            # The guards end what belongs to a supervisor that is gone.
            os.kill(supervisor, signal.SIGKILL)
            if not isinstance(fault, HeadraceError | subprocess.SubprocessError):
                raise

    def headrace(
        self, *arguments: str, timeout_s: float, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of this checkout on this system.

        Raises:
            HeadraceError: it failed, and `check` is on; with what it said.
        """
        result = subprocess.run(
            [sys.executable, "-m", "headrace", *arguments, "--data-dir", str(self.home.path)],
            env=self.environ(),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and result.returncode:
            raise HeadraceError(f"headrace {' '.join(arguments)} failed: {result.stdout}{result.stderr}")
        return result

    def environ(self) -> dict[str, str]:
        """Return our environment without the developer's own Headrace, with what the suite needs."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        checkout = str(Path(__file__).parents[2])
        needed = {
            "PYTHONPATH": os.pathsep.join(filter(None, (checkout, ours.get("PYTHONPATH")))),
            "HEADRACE_REPLY_TOPICS": f'["{REPLY_TOPIC}"]',
        }
        return ours | needed | self._settings

    def worker_environ(self, instance_id: str) -> dict[str, str]:
        """Return what `headrace up` gives its workers, for one more of them."""
        endpoints = self.endpoints
        return self.environ() | {
            "HEADRACE_KAFKA_BOOTSTRAP": endpoints.kafka,
            "HEADRACE_REDIS_URL": endpoints.redis,
            "HEADRACE_CLICKHOUSE_URL": endpoints.clickhouse,
            "HEADRACE_API_KEY": endpoints.api_key,
            "HEADRACE_ADMIN_KEY": endpoints.admin_key,
            "HEADRACE_INSTANCE_ID": instance_id,
            "OPENAI_API_KEY": SIMULATOR_KEY,
            "OPENAI_BASE_URL": f"{self.simulator}/v1",
            "ANTHROPIC_API_KEY": SIMULATOR_KEY,
            "ANTHROPIC_BASE_URL": self.simulator,
        }

    def process(self, role: str) -> ProcessStatus:
        """Return the state of a role.

        Raises:
            KeyError: there is no such role.
        """
        found = {process.role: process for process in self.home.status().processes}
        return found[role]

    async def running_pid(self, role: str, *, timeout_s: float) -> int:
        """Return the pid of a role once it runs.

        Raises:
            TimeoutError: it does not come back.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            process = self.process(role)
            if process.state == "running" and process.pid is not None and psutil.pid_exists(process.pid):
                return process.pid
            await asyncio.sleep(_POLL_S)
        raise TimeoutError(f"{role} did not come back within {timeout_s:.0f} s; see {self.process(role).log}")
