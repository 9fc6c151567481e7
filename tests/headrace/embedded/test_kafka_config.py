from pathlib import Path

from headrace.embedded.kafka import jvm_options, render_log4j2, render_server_properties


def properties(text: str) -> dict[str, str]:
    """Read what was rendered, one setting a line."""
    return dict(line.split("=", 1) for line in text.splitlines())


def server(log_dir: Path = Path("/data/topics")) -> dict[str, str]:
    """The server's settings on two known ports."""
    return properties(render_server_properties(log_dir=log_dir, client_port=1, controller_port=2))


def test_it_listens_on_the_loopback_address_only() -> None:
    """No listener is reachable from another machine: there is no password."""
    settings = server()
    assert settings["listeners"] == "CLIENT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["advertised.listeners"] == "CLIENT://127.0.0.1:1"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:2"


def test_one_node_replicates_nothing() -> None:
    """Every replication factor is one, those of Kafka's own topics included."""
    factors = {name: value for name, value in server().items() if name.endswith("replication.factor")}
    assert len(factors) == 4
    assert set(factors.values()) == {"1"}


def test_topics_are_never_made_by_accident() -> None:
    """A consumer of a misspelt topic gets an error, not an empty topic."""
    assert server()["auto.create.topics.enable"] == "false"


def test_folders_are_written_as_java_reads_them() -> None:
    """Backslashes and letters beyond ASCII, the emoji with two units, survive java.util.Properties."""
    assert server(Path("/d\\ä😀"))["log.dirs"] == "/d\\\\\\u00e4\\ud83d\\ude00"


def test_the_log_has_warnings_and_little_else() -> None:
    """To standard output, which the guard writes to a bounded file."""
    settings = properties(render_log4j2())
    assert settings["appender.out.type"] == "Console"
    assert settings["rootLogger.level"] == "warn"


def test_the_jvm_keeps_to_its_folder() -> None:
    """Its heap is bounded, and native libraries are unpacked in the data folder."""
    options = jvm_options(temp_dir=Path("/d/tmp"), log4j2=Path("/d e/log4j2.properties"))
    assert "-Xmx256m" in options
    assert "-Djava.io.tmpdir=/d/tmp" in options
    assert "-Dlog4j2.configurationFile=file:///d%20e/log4j2.properties" in options
