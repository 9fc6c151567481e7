"""What `headrace up` runs: the parts that no setting provides, and Headrace's processes on top."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headrace.embedded.child import Child, EmbeddedPart
from headrace.embedded.clickhouse import EmbeddedClickHouse
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.process import LOOPBACK, answers_http, choose_port, free_port, is_free
from headrace.embedded.redis import EmbeddedRedis
from headrace.simulator.app import PASSWORD_VARIABLE
from headrace.up.environment import PART_VARIABLES, PROVIDER_KEYS, READER_VARIABLE, service_environment
from headrace.up.home import Endpoints, Home, ProcessStatus
from headrace.up.supervisor import ServiceProcess, Supervisor
from streams.control.document import read_document
from streams.control.writer import ControlWriter
from streams.kafka.topic_admin import create_topics
from streams.settings import Settings, load_settings

_STOP_MARGIN_S = 15.0
#: Control records of the folder where `headrace up` is run.
CONTROL_FILE = Path("headrace.yaml")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line of `headrace up` chose; `ports` are by role."""

    workers: int = 1
    standby: bool = True
    ports: Mapping[str, int | None] = {}


@dataclass(eq=False)
class Stack:
    """Starts and stops everything."""

    home: Home
    options: Options
    environ: Mapping[str, str]
    _: KW_ONLY
    on_progress: Callable[[str], None]
    on_change: Callable[[], None]
    _external: list[ProcessStatus] = field(default_factory=list, init=False)
    _own_ports: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._environ = dict(self.environ)
        self._supervisor = Supervisor(self.on_progress, self.on_change)
        self._ports = self.home.ports()

    @property
    def simulated(self) -> bool:
        """Whether the providers are simulated, because no provider's key is set."""
        return not any(self._environ.get(name) for name in PROVIDER_KEYS)

    def processes(self) -> tuple[ProcessStatus, ...]:
        """Return every process and every part that is provided from outside."""
        return (*self._external, *self._supervisor.processes())

    def start(self) -> Endpoints:
        """Start everything; returns once a request would be answered. Raises `HeadraceError`."""
        self._environ["TMPDIR"] = str(self.home.temporary())
        parts = self._start_parts()
        simulator = self._start_simulator()
        environ = self.service_environment(parts, simulator)
        os.environ.update(environ)
        settings = load_settings()
        self.on_progress("creating the topics")
        asyncio.run(
            create_topics(
                settings.kafka_bootstrap,
                partitions=settings.topic_partitions,
                replication=settings.topic_replication,
                extra=settings.reply_topics,
            )
        )
        self._apply_control(settings)
        self._supervisor.start(self._services(environ, settings))
        self.home.write("ports", self._ports)
        password = self.home.keys().control_password
        return Endpoints(
            kafka=settings.kafka_bootstrap,
            redis=settings.redis_url,
            clickhouse=settings.clickhouse_url,
            clickhouse_reader=environ.get(READER_VARIABLE),
            ingest=_http(settings.ingest_port),
            analytics=_http(settings.analytics_port),
            simulator=simulator,
            simulator_control=simulator and simulator.replace("://", f"://control:{password}@"),
            api_key=environ["HEADRACE_API_KEY"],
            admin_key=environ["HEADRACE_ADMIN_KEY"],
            webhook_secret=environ["HEADRACE_WEBHOOK_SECRET"],
        )

    def stop(self) -> None:
        """Stop everything: our own processes, then the simulator, then the parts."""
        self._supervisor.stop()

    def service_environment(self, parts: Mapping[str, str], simulator: str | None) -> dict[str, str]:
        """Return the environment of our own processes."""
        options = self.options
        ports = {
            role: self._port(
                role, options.ports.get(role) or self._given_port(f"HEADRACE_{role.upper()}_PORT")
            )
            for role in ("ingest", "analytics")
        }
        for number in range(options.workers):
            self._port(f"worker-{number}", None)
        return service_environment(
            self._environ,
            self.home.keys(),
            parts=parts,
            ports=ports,
            own_ports=self._own_ports,
            simulator=simulator,
        )

    def _start_parts(self) -> dict[str, str]:
        endpoints: dict[str, str] = {}
        embedded: list[EmbeddedPart] = []
        for role, variable in PART_VARIABLES.items():
            given = self._environ.get(variable)
            if given:
                self._external.append(ProcessStatus(role=role, state="external"))
                endpoints[role] = given
            else:
                embedded.append(self._part(role))
        self._supervisor.start(embedded)
        for part in embedded:
            self._ports[part.role] = part.port
            self._own_ports.update(part.ports.values())
            endpoints[part.role] = part.endpoint
        return endpoints

    def _part(self, role: str) -> EmbeddedPart:
        port = self._port(role, self._given_port(f"HEADRACE_EMBEDDED_{role.upper()}_PORT"))
        data = self.home.data(role)
        if role == "kafka":
            return EmbeddedKafka(data, port)
        keys = self.home.keys()
        if role == "redis":
            return EmbeddedRedis(data, port, password=keys.redis_password)
        return EmbeddedClickHouse(
            data, port, password=keys.clickhouse_password, reader_password=keys.reader_password
        )

    def _apply_control(self, settings: Settings) -> None:
        if not CONTROL_FILE.exists():
            return
        self.on_progress(f"applying {CONTROL_FILE}")
        changes = read_document(CONTROL_FILE.read_bytes(), name=str(CONTROL_FILE))

        async def apply() -> None:
            async with ControlWriter.of(settings, client_id="headrace-up") as control:
                await control.change(changes, author="headrace up", reason=str(CONTROL_FILE))

        asyncio.run(apply())

    def _start_simulator(self) -> str | None:
        if not self.simulated:
            return None
        port = self._port("simulator", self.options.ports.get("simulator"))
        arguments = ["headrace.simulator", "--host", LOOPBACK, "--port", str(port)]
        arguments += ["--data-dir", str(self.home.data("simulator"))]
        environ = {**self._environ, PASSWORD_VARIABLE: self.home.keys().control_password}
        self._supervisor.start([self._service("simulator", arguments, environ, port, path="/health")])
        return _http(port)

    def _services(self, environ: Mapping[str, str], settings: Settings) -> list[Child]:
        ports = {"ingest": settings.ingest_port, "analytics": settings.analytics_port}
        services: list[Child] = [
            self._service(role, ["headrace", role], environ, port) for role, port in ports.items()
        ]
        for number in range(self.options.workers):
            name = f"worker-{number}"
            port = self._ports[name]
            own = {
                "HEADRACE_INSTANCE_ID": name,
                "HEADRACE_WORKER_HOST": LOOPBACK,
                "HEADRACE_WORKER_PORT": str(port),
            }
            services.append(
                self._service(
                    name,
                    ["headrace", "worker"],
                    {**environ, **own},
                    port,
                    stop_grace_s=settings.drain_timeout_s + _STOP_MARGIN_S,
                    standby=self.options.standby,
                )
            )
        return services

    def _service(
        self,
        role: str,
        arguments: list[str],
        environ: Mapping[str, str],
        port: int,
        *,
        path: str = "/ready",
        **options: Any,
    ) -> ServiceProcess:
        probe, log_dir = answers_http(_http(port) + path), self.home.logs
        return ServiceProcess(
            role, arguments, environ=environ, log_dir=log_dir, probe=probe, port=port, **options
        )

    def _given_port(self, variable: str) -> int | None:
        given = self._environ.get(variable, "")
        return int(given) if given.isdigit() and int(given) else None

    def _port(self, role: str, given: int | None) -> int:
        """Return the port that was given (checked), the last one if it is free, or a free one."""
        if given:
            port = choose_port(given, setting=f"--{role}-port")
        else:
            last = self._ports.get(role)
            port = last if last is not None and is_free(last) else free_port()
            self._ports[role] = port
        self._own_ports.add(port)
        return port


def _http(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
