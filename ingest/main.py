"""The process `headrace ingest`."""

import asyncio
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import structlog
import uvicorn
import uvloop

from ingest.admin.spend import BindQuery
from ingest.app import create_app
from ingest.errors import anthropic_error_body, is_anthropic_route
from ingest.services import connected_services
from streams.errors import ConfigurationError
from streams.events import ErrorInfo
from streams.serving.api_keys import sender_keys
from streams.serving.errors import error_body
from streams.serving.protocol import BoundedHttp
from streams.serving.server import HttpServer, http_config
from streams.settings import Settings

log = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(settings: Settings, bind: BindQuery) -> None:
    """Serve until SIGTERM or SIGINT; then finish the open requests, within the drain timeout.

    Raises as `connected_services`, and `ConfigurationError` where the port is taken.
    """
    sender_keys(settings.keys)  # before anything is connected
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, bind))


async def _serve(settings: Settings, bind: BindQuery) -> None:
    async with connected_services(settings, bind) as services:
        config = http_config(
            create_app(services),
            host=settings.ingest_host,
            port=settings.ingest_port,
            grace_s=settings.drain_timeout_s,
            protocol=IngestHttp,
        )
        server = _Server(config, on_stop=services.hub.dismiss_followers)
        try:
            await server.serve()
        except SystemExit as fault:  # how uvicorn says that it cannot bind
            raise ConfigurationError(
                f"cannot listen at {settings.ingest_host}:{settings.ingest_port}: is the port taken? Set "
                "HEADRACE_INGEST_HOST and HEADRACE_INGEST_PORT"
            ) from fault
    log.info("ingest.stopped")


class _Server(HttpServer):
    """A server that returns to its caller when it stops: connections are closed after it, in order."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ask the server to exit on a signal; a second one does not wait for open requests."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("ingest.stopping", signal=number.name, again=self.should_exit)
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()


class IngestHttp(BoundedHttp):
    """HTTP/1.1 that refuses malformed requests with the error object of the API that was asked."""

    @staticmethod
    def error_object(error: ErrorInfo, status: int, request_id: str, path: str) -> Mapping[str, object]:
        """Return the error object of the API that has this path."""
        if is_anthropic_route(path):
            return anthropic_error_body(error, request_id, status=status)
        return error_body(error, request_id)
