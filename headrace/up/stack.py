"""What `headrace up` runs: the parts that no setting provides, and Headrace's processes on top."""

import asyncio
import os
from collections.abc import Callable, Mapping

import msgspec

from headrace.embedded.clickhouse import EmbeddedClickHouse
from headrace.embedded.errors import PortInUse
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.part import EmbeddedPart
from headrace.embedded.ports import choose_port, free_port, require_free
from headrace.embedded.redis import EmbeddedRedis
from headrace.simulator.operator_api import PASSWORD_VARIABLE
from headrace.up.children import PartChild, ServiceChild, answers
from headrace.up.home import Endpoints, Home, ProcessStatus
from headrace.up.supervisor import Child, Supervisor
from streams.errors import ConfigurationError
from streams.kafka.record_auth import key_of_redis
from streams.kafka.topic_admin import create_topics
from streams.settings import Settings, load_settings

_LOOPBACK = "127.0.0.1"
_SIMULATOR_KEY = "sk-simulated-by-headrace"
_PART_VARIABLES = {
    "kafka": "HEADRACE_KAFKA_BOOTSTRAP",
    "redis": "HEADRACE_REDIS_URL",
    "clickhouse": "HEADRACE_CLICKHOUSE_URL",
}
_READER_VARIABLE = "HEADRACE_CLICKHOUSE_READER_URL"
_PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line chose."""

    workers: int = 1
    standby: bool = True
    ingest_port: int | None = None
    analytics_port: int | None = None
    simulator_port: int | None = None


class Stack:
    """Starts and stops everything.

    Args:
        home: where data, logs and keys are.
        options: from the command line.
        environ: the variables that say which parts are provided, and settings to pass on.
        on_progress: told what is going on.
    """

    def __init__(
        self,
        home: Home,
        options: Options,
        environ: Mapping[str, str],
        *,
        on_progress: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        self._home = home
        self._options = options
        self._environ = dict(environ)
        self._on_progress = on_progress
        self._supervisor = Supervisor(on_progress, on_change)
        self._external: list[ProcessStatus] = []
        self._ports = home.ports()
        self._part_ports: set[int] = set()

    @property
    def simulated(self) -> bool:
        """Whether the providers are simulated, because no provider's key is set."""
        return not any(self._environ.get(name) for name in _PROVIDER_KEYS)

    def processes(self) -> tuple[ProcessStatus, ...]:
        """Return every process and every part that is provided from outside."""
        return (*self._external, *self._supervisor.processes())

    def start(self) -> Endpoints:
        """Start everything; returns once a request would be answered.

        Raises:
            HeadraceError: what could not be started, and what to change.
        """
        self._environ["TMPDIR"] = str(self._home.temporary())
        parts = self._start_parts()
        simulator = self._start_simulator()
        environ = self._service_environ(parts, simulator)
        os.environ.update(environ)
        settings = load_settings()
        self._on_progress("creating the topics")
        asyncio.run(
            create_topics(
                settings.kafka_bootstrap,
                partitions=settings.topic_partitions,
                replication=settings.topic_replication,
                extra=settings.reply_topics,
            )
        )
        self._supervisor.start(self._services(environ, settings))
        self._home.write_ports(self._ports)
        keys = self._home.keys()
        return Endpoints(
            kafka=settings.kafka_bootstrap,
            redis=settings.redis_url,
            clickhouse=settings.clickhouse_url,
            clickhouse_reader=environ.get(_READER_VARIABLE),
            ingest=f"http://{_LOOPBACK}:{environ['HEADRACE_INGEST_PORT']}",
            analytics=f"http://{_LOOPBACK}:{environ['HEADRACE_ANALYTICS_PORT']}",
            simulator=simulator,
            simulator_control=self._control(simulator),
            api_key=self._environ.get("HEADRACE_API_KEY") or keys.api_key,
            admin_key=self._environ.get("HEADRACE_ADMIN_KEY") or keys.admin_key,
            webhook_secret=self._environ.get("HEADRACE_WEBHOOK_SECRET") or keys.webhook_secret,
        )

    def stop(self) -> None:
        """Stop everything: our own processes, then the simulator, then the parts."""
        self._supervisor.stop()

    def _start_parts(self) -> dict[str, str]:
        """Start the embedded parts side by side and return every part's endpoint."""
        endpoints: dict[str, str] = {}
        embedded: list[EmbeddedPart] = []
        for role, variable in _PART_VARIABLES.items():
            given = self._environ.get(variable)
            if given:
                self._external.append(ProcessStatus(role=role, state="external"))
                endpoints[role] = given
            else:
                embedded.append(self._part(role))
        self._start([PartChild(part) for part in embedded])
        for part in embedded:
            self._ports[part.role] = part.port
            self._part_ports.update(part.ports.values())
            endpoints[part.role] = part.endpoint
        return endpoints

    def _part(self, role: str) -> EmbeddedPart:
        port = self._port(role, self._given_port(f"HEADRACE_EMBEDDED_{role.upper()}_PORT"))
        data = self._home.data(role)
        if role == "kafka":
            return EmbeddedKafka(data, port)
        keys = self._home.keys()
        if role == "redis":
            return EmbeddedRedis(data, port, password=keys.redis_password)
        return EmbeddedClickHouse(
            data, port, password=keys.clickhouse_password, reader_password=keys.reader_password
        )

    def _start_simulator(self) -> str | None:
        if not self.simulated:
            return None
        port = self._port("simulator", self._options.simulator_port)
        url = f"http://{_LOOPBACK}:{port}"
        arguments = ["headrace.simulator", "--host", _LOOPBACK, "--port", str(port)]
        arguments += ["--data-dir", str(self._home.data("simulator"))]
        child = self._service(
            "simulator",
            arguments,
            {**self._environ, PASSWORD_VARIABLE: self._home.keys().control_password},
            port=port,
            probe=answers(f"{url}/health"),
        )
        self._start([child])
        return url

    def _control(self, simulator: str | None) -> str | None:
        """Return the simulator's address with the operator's password."""
        if simulator is None:
            return None
        return simulator.replace("http://", f"http://control:{self._home.keys().control_password}@")

    def _service_environ(self, parts: Mapping[str, str], simulator: str | None) -> dict[str, str]:
        """Return the environment of our own processes: the given one, completed."""
        keys = self._home.keys()
        ingest = self._port("ingest", self._options.ingest_port or self._given_port("HEADRACE_INGEST_PORT"))
        analytics = self._port(
            "analytics", self._options.analytics_port or self._given_port("HEADRACE_ANALYTICS_PORT")
        )
        environ = self._environ | {
            **{_PART_VARIABLES[role]: endpoint for role, endpoint in parts.items()},
            "HEADRACE_INGEST_PORT": str(ingest),
            "HEADRACE_ANALYTICS_PORT": str(analytics),
        }
        if not self._environ.get(_PART_VARIABLES["clickhouse"]):
            address = parts["clickhouse"].rpartition("@")[2]
            environ[_READER_VARIABLE] = f"http://reader:{keys.reader_password}@{address}"
        environ.setdefault("HEADRACE_REPLY_TOPICS", '["*"]')  # on one machine, everybody is ourselves
        environ.setdefault("HEADRACE_API_KEY", keys.api_key)
        environ.setdefault("HEADRACE_ADMIN_KEY", keys.admin_key)
        environ.setdefault("HEADRACE_WEBHOOK_SECRET", keys.webhook_secret)
        if key_of_redis(environ[_PART_VARIABLES["redis"]]) is None:  # somebody's own, without a password
            environ.setdefault("HEADRACE_RECORD_KEYS", f'["{keys.record_key}"]')
        environ["HEADRACE_WEBHOOK_OWN_SERVICES"] = self._own_services()
        if simulator is not None:
            environ |= {
                "OPENAI_API_KEY": _SIMULATOR_KEY,
                "OPENAI_BASE_URL": f"{simulator}/v1",
                "ANTHROPIC_API_KEY": _SIMULATOR_KEY,
                "ANTHROPIC_BASE_URL": simulator,
            }
        return environ

    def _own_services(self) -> str:
        """Return every port that is ours, beside what the operator names: no webhook may reach them."""
        for number in range(self._options.workers):
            self._port(f"worker-{number}", None)
        ours = [f"{_LOOPBACK}:{port}" for port in {*self._ports.values(), *self._part_ports}]
        given = self._environ.get("HEADRACE_WEBHOOK_OWN_SERVICES") or "[]"
        try:
            named = msgspec.json.decode(given, type=list[str])
        except msgspec.DecodeError as fault:
            raise ConfigurationError(
                'HEADRACE_WEBHOOK_OWN_SERVICES must be a JSON list of host:port, e.g. ["ingest:8000"]'
            ) from fault
        return msgspec.json.encode(named + ours).decode()

    def _services(self, environ: Mapping[str, str], settings: Settings) -> list[Child]:
        ingest_port, analytics_port = settings.ingest_port, settings.analytics_port
        services: list[Child] = [
            self._service(
                "ingest",
                ["headrace", "ingest"],
                environ,
                port=ingest_port,
                probe=answers(f"http://{_LOOPBACK}:{ingest_port}/ready"),
            ),
            self._service(
                "analytics",
                ["headrace", "analytics"],
                environ,
                port=analytics_port,
                probe=answers(f"http://{_LOOPBACK}:{analytics_port}/ready"),
            ),
        ]
        services += [self._worker(number, environ, settings) for number in range(self._options.workers)]
        return services

    def _worker(self, number: int, environ: Mapping[str, str], settings: Settings) -> Child:
        name = f"worker-{number}"
        port = self._port(name, None)
        return self._service(
            name,
            ["headrace", "worker"],
            {
                **environ,
                "HEADRACE_INSTANCE_ID": name,
                "HEADRACE_WORKER_HOST": _LOOPBACK,
                "HEADRACE_WORKER_PORT": str(port),
            },
            port=port,
            probe=answers(f"http://{_LOOPBACK}:{port}/ready"),
            stop_grace_s=settings.drain_timeout_s + 15,
            standby=self._options.standby,
        )

    def _service(
        self,
        role: str,
        arguments: list[str],
        environ: Mapping[str, str],
        *,
        probe: Callable[[], bool],
        port: int | None = None,
        stop_grace_s: float = 20.0,
        standby: bool = False,
    ) -> Child:
        return ServiceChild(
            role,
            arguments,
            environ=environ,
            log_dir=self._home.logs,
            probe=probe,
            port=port,
            stop_grace_s=stop_grace_s,
            standby=standby,
        )

    def _start(self, children: list[Child]) -> None:
        if children:
            self._supervisor.start(children)

    def _given_port(self, variable: str) -> int | None:
        given = self._environ.get(variable, "")
        return int(given) if given.isdigit() and int(given) else None

    def _port(self, role: str, given: int | None) -> int:
        """Return the port that was given (checked), the last one if it is free, or a free one."""
        if given:
            return choose_port(given, setting=f"--{role}-port")
        last = self._ports.get(role)
        port = last if last is not None and _is_free(last, role) else free_port()
        self._ports[role] = port
        return port


def _is_free(port: int, role: str) -> bool:
    try:
        require_free(port, setting=role)
    except PortInUse:
        return False
    return True
