"""Who answers: the provider simulator itself, Headrace, LiteLLM's proxy and Portkey's gateway.

All have the same simulator behind them, the one that `headrace up` starts. All are started once. While one is
measured the others are stopped by SIGSTOP: they take no CPU time, and go on warm afterwards.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.chaos.system import SIMULATOR_KEY, System
from bench.side_by_side import installs
from bench.side_by_side.process_tree import roles_of, send
from headrace.embedded.process import LOOPBACK, ChildProcess, answers_http, free_port

MODEL = "gpt-4o-mini"
_MASTER_KEY = "sk-side-by-side"
_START_TIMEOUT_S = 180.0
_SIMULATOR = "simulator"


class Contender:
    """The provider itself; and what all contenders have in common.

    Args:
        simulator: the address of the provider simulator.
    """

    name = "provider"
    version = "simulated"
    #: Why it is left out where answers are streamed.
    no_streams = ""

    def __init__(self, simulator: str) -> None:
        self._simulator = simulator

    @property
    def url(self) -> str:
        """Where chat completions are asked for."""
        return f"{self._simulator}/v1/chat/completions"

    @property
    def headers(self) -> Mapping[str, str]:
        """What a request needs besides its body."""
        return {"Authorization": f"Bearer {SIMULATOR_KEY}"}

    def processes(self) -> dict[int, str]:
        """Return its processes and their roles, without the simulator: none for the provider itself."""
        return {}

    def start(self, *, cached: bool) -> None:
        """Start it where it does not run; `cached`: with a cache for answers, where it has a choice."""

    def stop(self) -> None:
        """End it."""

    def pause(self) -> None:
        """Stop its processes, the parents first, so that none sees a child that does not answer."""
        send(signal.SIGSTOP, self.processes())

    def resume(self) -> None:
        """Let its processes go on, the children first."""
        send(signal.SIGCONT, reversed(self.processes()))


class HeadraceContender(Contender):
    """Headrace as `headrace up` runs it, one worker: every check, the durable log and the accounting on.

    Its cache is always on. `start` and `stop` are the caller's: the simulator is in it.
    """

    name = "headrace"

    def __init__(self, system: System) -> None:
        super().__init__(system.simulator)
        self._system = system
        here = Path(__file__).parent
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        said = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=30, check=False)
        self.version = said.stdout.strip() or "unknown"

    @property
    def kafka(self) -> str:
        """Where its broker is."""
        return self._system.endpoints.kafka

    @property
    def url(self) -> str:
        return f"{self._system.endpoints.ingest}/v1/chat/completions"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._system.endpoints.api_key}"}

    def processes(self) -> dict[int, str]:
        status = self._system.home.status()
        roles = {each.pid: each.role for each in status.processes if each.pid is not None}
        found = roles_of(status.supervisor_pid, roles, rest="supervisor")
        return {pid: role for pid, role in found.items() if role != _SIMULATOR}


class LiteLLM(Contender):
    """LiteLLM's Python proxy, set as its documentation advises for speed.

    One process, a master key, no database, no callbacks.
    """

    name = "litellm"
    version = installs.LITELLM_VERSION

    def __init__(self, simulator: str, cache: Path, folder: Path) -> None:
        super().__init__(simulator)
        self._program = installs.litellm(cache)
        self._folder = folder
        self._port = free_port()
        self._child: ChildProcess | None = None
        self._cached = False

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}/v1/chat/completions"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {_MASTER_KEY}"}

    def processes(self) -> dict[int, str]:
        pid = self._child.pid if self._child else None
        return roles_of(pid, {}, rest=self.name) if pid is not None else {}

    def start(self, *, cached: bool) -> None:
        if self._child is not None and self._cached == cached:
            return
        self.stop()
        self._cached = cached
        config = self._folder / "litellm.json"
        config.write_text(json.dumps(self._config(cached=cached)))  # JSON is YAML, too
        command = [str(self._program), "--config", str(config), "--host", LOOPBACK, "--port", str(self._port)]
        self._child = _child(
            self.name,
            [*command, "--num_workers", "1", "--telemetry", "False"],
            self._folder,
            f"http://{LOOPBACK}:{self._port}/health/liveliness",
            LITELLM_LOG="ERROR",
            LITELLM_MODE="PRODUCTION",
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        )

    def stop(self) -> None:
        if self._child is not None:
            self.resume()
            self._child.stop()
            self._child = None

    def _config(self, *, cached: bool) -> dict[str, object]:
        model = {"model": f"openai/{MODEL}", "api_base": f"{self._simulator}/v1", "api_key": SIMULATOR_KEY}
        cache: dict[str, object] = {"cache": True, "cache_params": {"type": "local"}} if cached else {}
        return {
            "model_list": [{"model_name": MODEL, "litellm_params": model}],
            "general_settings": {"master_key": _MASTER_KEY},
            "litellm_settings": {"set_verbose": False, **cache},
        }


class Portkey(Contender):
    """Portkey's open gateway on Node.js: one process; it has no keys, no budgets and no cache of its own."""

    name = "portkey"
    version = installs.PORTKEY_VERSION
    no_streams = (
        "it answers each stream with a 500 on Node 20: TypeError: immutable (it changes a fetched header)"
    )

    def __init__(self, simulator: str, cache: Path, folder: Path) -> None:
        super().__init__(simulator)
        self._command = installs.portkey(cache)
        self._folder = folder
        self._port = free_port()
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}/v1/chat/completions"

    @property
    def headers(self) -> Mapping[str, str]:
        portkey = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{self._simulator}/v1"}
        return {**super().headers, **portkey}

    def processes(self) -> dict[int, str]:
        pid = self._child.pid if self._child else None
        return roles_of(pid, {}, rest=self.name) if pid is not None else {}

    def start(self, *, cached: bool) -> None:
        del cached  # it has none
        if self._child is None:
            node, script = self._command
            self._child = _child(
                self.name,
                [node, str(script), f"--port={self._port}", "--headless"],
                self._folder,
                f"http://{LOOPBACK}:{self._port}/",
                NODE_ENV="production",
                TRUSTED_CUSTOM_HOSTS=f"localhost,{LOOPBACK}",
            )

    def stop(self) -> None:
        if self._child is not None:
            self.resume()
            self._child.stop()
            self._child = None


def _child(name: str, argv: list[str], folder: Path, probe: str, **environ: str) -> ChildProcess:
    """Start a gateway that ends with us, however we end, and wait until it answers."""
    child = ChildProcess(
        role=name,
        argv=argv,
        log_path=folder / f"{name}.log",
        probe=answers_http(probe),
        env=_clean_environ() | environ,
        cwd=folder,
        start_timeout_s=_START_TIMEOUT_S,
    )
    child.start()
    try:
        child.wait_ready()
    except BaseException:
        child.stop()
        raise
    return child


def _clean_environ() -> dict[str, str]:
    """Return our environment without keys of providers and settings of gateways."""
    foreign = ("HEADRACE_", "OPENAI_", "ANTHROPIC_", "LITELLM_", "PYTHON", "DATABASE_", "REDIS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def others(simulator: str, names: list[str], folder: Path) -> list[Contender]:
    """Return the contenders besides Headrace that can be had here; says which cannot, and why."""
    found: list[Contender] = []
    makers = {
        Contender.name: lambda: Contender(simulator),
        LiteLLM.name: lambda: LiteLLM(simulator, installs.cache_folder(), folder),
        Portkey.name: lambda: Portkey(simulator, installs.cache_folder(), folder),
    }
    for name, make in makers.items():
        if name in names:
            try:
                found.append(make())
            except installs.NotInstallable as fault:
                print(f"without {name}: {fault}", file=sys.stderr)
    return found
