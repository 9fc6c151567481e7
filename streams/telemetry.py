"""Structured logs by structlog: one JSON object per line, with the request id where there is one."""

import logging
import re
import sys
from typing import Literal

import structlog

_CREDENTIALS = re.compile(r"(?<=://)[^\s/@\"']{0,512}@")
#: Libraries that repeat themselves during an outage: aiokafka wrote 18,000 error lines in one broker restart.
_NOISY_LIBRARIES = tuple("aiokafka faust mode httpx httpcore aiohttp asyncio".split())


def configure_logging(level: str = "INFO", log_format: Literal["json", "console"] = "json") -> None:
    """Send structlog and the standard library's loggers through one formatter to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
                _without_credentials,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # On the handler: a filter on a logger does not see the records of the loggers below it.
    handler.addFilter(_RepeatFilter())
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def without_credentials(text: str) -> str:
    """Return the text without the user and password of addresses such as ``redis://user:password@host:port``."""
    return _CREDENTIALS.sub("", text) if "@" in text else text


def _without_credentials(_logger: object, _method: str, line: object) -> str:
    """Remove the passwords of addresses from a finished line, tracebacks included."""
    return without_credentials(str(line))


class _RepeatFilter(logging.Filter):
    """Passes each message of a library once a second, and counts the repeats that it drops."""

    _PERIOD_S = 1.0
    _MAX_MESSAGES = 256

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}
        self._suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _NOISY_LIBRARIES:
            return True
        text = str(record.msg)
        last = self._last.get(text)
        if last is not None and record.created - last < self._PERIOD_S:
            self._suppressed += 1
            return False
        if len(self._last) >= self._MAX_MESSAGES:
            self._last.clear()
        self._last[text] = record.created
        if self._suppressed:
            record.msg = f"{text} [{self._suppressed} repeats not shown]"
            self._suppressed = 0
        return True
