"""The configuration of a one-node Kafka, as text, and why each value is what it is."""

import json
from collections.abc import Mapping
from pathlib import Path

from headrace.embedded.ports import LOOPBACK

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
    """The text of server.properties.

    The controller quorum is static: a dynamic one stores the controller's port in the data, and the
    data must survive another port.
    """
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
