"""What reaches stderr."""

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from streams.telemetry import configure_logging, without_credentials


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was for the tests that follow."""
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)
    structlog.contextvars.clear_contextvars()


def lines(captured: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.splitlines()]


def test_every_line_is_json_with_the_bound_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    """Our own lines and the standard library's alike."""
    configure_logging()
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger("agents.x").info("stage.done", took_ms=3)
    logging.getLogger("somebody").warning("half of %s", "it")
    ours, theirs = lines(capsys.readouterr().err)
    assert ours | {"timestamp": ""} == {
        "event": "stage.done",
        "took_ms": 3,
        "request_id": "r-1",
        "level": "info",
        "logger": "agents.x",
        "timestamp": "",
    }
    assert (theirs["event"], theirs["request_id"], theirs["logger"]) == ("half of it", "r-1", "somebody")


def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a fault, whatever its length."""
    configure_logging()
    try:
        int("nought")
    except ValueError:
        structlog.get_logger("agents.x").exception("stage.failed")
    (line,) = lines(capsys.readouterr().err)
    assert "ValueError: invalid literal" in str(line["exception"])


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_password_of_an_address_is_in_a_line(
    capsys: pytest.CaptureFixture[str], log_format: Literal["json", "console"]
) -> None:
    """Whether it stands in a field, in a message of a library, or in an exception."""
    configure_logging("INFO", log_format)
    url = "redis://:hunter2@127.0.0.1:6379/0"
    structlog.get_logger("agents.x").info("redis.away", url=url, seen=[f"http://default:hunter2@{'h' * 9}:1"])
    logging.getLogger("somebody").warning("no answer from %s", url)
    try:
        float(url)
    except ValueError:
        logging.getLogger("somebody").exception("failed")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "redis://127.0.0.1:6379/0" in said


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours by the level that is set; libraries never below WARNING."""
    configure_logging("INFO")
    structlog.get_logger("agents.x").debug("no")
    logging.getLogger("aiokafka.conn").info("no")
    logging.getLogger("httpx").info("no")
    assert capsys.readouterr().err == ""


def record(name: str, text: str, created: float) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, text, ("x",), None)
    made.created = created
    return made


def test_a_noisy_library_says_the_same_thing_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever of its loggers says it; how often it was held back is told, and other messages pass."""
    configure_logging()
    connection = logging.getLogger("aiokafka.conn.deep")
    for tick in range(1_000):
        connection.handle(record("aiokafka.conn.deep", "no broker at %s", 100 + tick / 1_000))
    connection.handle(record("aiokafka.conn.deep", "something else at %s", 100.5))
    connection.handle(record("aiokafka.conn.deep", "no broker at %s", 101.5))
    said = [line["event"] for line in lines(capsys.readouterr().err)]
    assert said == [
        "no broker at x",
        "something else at x [999 repeats not shown]",
        "no broker at x",
    ]


def test_our_own_repeats_are_not_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of our lines is about another request."""
    configure_logging()
    for _ in range(3):
        structlog.get_logger("agents.x").warning("cache.unavailable")
    assert len(lines(capsys.readouterr().err)) == 3


def test_configuring_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Every process configures once, tests and tools more often."""
    configure_logging()
    configure_logging(log_format="console")
    structlog.get_logger("agents.x").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_the_memory_of_messages_is_bounded() -> None:
    """A library that never repeats itself must not fill the memory."""
    configure_logging()
    (handler,) = logging.getLogger().handlers
    (limit,) = handler.filters
    for number in range(2_000):
        assert limit.filter(record("aiokafka", f"message {number}", 100.0))  # type: ignore[union-attr]
    assert len(limit._last) <= 256  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:secret@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("a http://u:p@h:1/x?y=z@w and https://v@g.", "a http://h:1/x?y=z@w and https://g."),
        ('{"url": "http://u:p%40@h"}', '{"url": "http://h"}'),
        ("http://h:1/a@b", "http://h:1/a@b"),
        ("somebody@example.com", "somebody@example.com"),
        ("http://h said: ask me@example.com", "http://h said: ask me@example.com"),
        ("", ""),
    ],
)
def test_only_user_and_password_go(text: str, shown: str) -> None:
    """Paths, mail addresses and the rest of the text stay."""
    assert without_credentials(text) == shown
