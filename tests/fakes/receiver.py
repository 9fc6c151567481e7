"""A receiver of webhooks: a real HTTP server on a free port, which answers as it is told."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: The longest time that a request is left hanging, lest a test that fails hang too.
_HANG_S = 60.0


@dataclass(frozen=True)
class Got:
    """A request that came in. Names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Say:
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


#: The answer is a drop of the connection, or none until the receiver ends.
DROP = "drop"
HANG = "hang"

Script = Callable[[Got, int], Say | str]


class Receiver:
    """What came in, and how it is answered: `script` is given the request and how many there were before."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.script: Script = lambda got, before: Say()
        self.got: list[Got] = []
        self.connections = 0
        self.released = threading.Event()
        self._lock = threading.Lock()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        """Return a URL here."""
        return f"http://{host}:{self.port}{path}"

    def on(self, path: str) -> list[Got]:
        """Return what came in at one path."""
        return [each for each in self.got if each.path == path]

    def take(self, got: Got) -> Say | str:
        """Note a request, and say what it is answered."""
        with self._lock:
            before = len(self.on(got.path))
            self.got.append(got)
        return self.script(got, before)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = receiver.take(Got(self.path, headers, self.rfile.read(length)))
            if said == HANG:
                receiver.released.wait(_HANG_S)
            if not isinstance(said, Say):
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in {"content-length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with suppress(OSError):  # the client has left
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
