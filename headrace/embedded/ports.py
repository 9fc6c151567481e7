"""Finds free ports, and says which setting to change where a given one is taken."""

import random
import socket

from headrace.embedded.errors import PortInUse

LOOPBACK = "127.0.0.1"
"""Embedded parts listen here and nowhere else: Kafka has no password, and none of them has TLS."""

_SERVER_PORTS = range(20_000, 32_000)
"""Below the ephemeral ports of Linux (32768–60999) and macOS (49152–65535): see `free_port`."""

_ATTEMPTS = 50


def free_port() -> int:
    """A TCP port that nobody uses right now; another process may take it before the caller does.

    Not one of the kernel's ephemeral ports: while a server on such a port restarts, a client that tries to
    reconnect can be given the very same number for its own end and connect to itself, which keeps the server
    from coming back.
    """
    for port in random.sample(_SERVER_PORTS, _ATTEMPTS):
        if is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def choose_port(port: int | None, *, setting: str) -> int:
    """The port asked for, checked to be free (`PortInUse` names `setting`), or a free one for None or 0."""
    if not port:
        return free_port()
    if not is_free(port):
        raise PortInUse(LOOPBACK, port, setting)
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free to listen on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True
