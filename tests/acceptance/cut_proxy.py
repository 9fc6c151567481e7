"""A TCP proxy that loses one answer: it cuts the first response after so many bytes of its body."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

_READ_BYTES = 65_536


class CutProxy:
    """Forwards every connection to an address; the first response is cut off, the others are whole.

    Args:
        target: the URL of a server without TLS.
        cut_after: how many bytes of the first response's body pass; 0: not even its head.
    """

    def __init__(self, target: str, *, cut_after: int) -> None:
        address = urlsplit(target)
        self._target = (address.hostname or "", address.port or 80)
        self._cut_after = cut_after
        self._is_cut = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        if self._is_cut:
            _pump(server, client)
            return
        held = b""
        with suppress(OSError):
            while data := server.recv(_READ_BYTES):
                self._is_cut = True
                held += data
                head = held.find(b"\r\n\r\n")
                if self._cut_after == 0:
                    break
                if head >= 0 and len(held) > head + 4 + self._cut_after:
                    client.sendall(held[: head + 4 + self._cut_after])
                    break
        _close(client)
        _close(server)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_READ_BYTES):
            sink.sendall(data)
    _close(sink)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
