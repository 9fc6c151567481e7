"""Limits of HTTP connections, whatever the route: docs/http.md has the table."""

import resource
from dataclasses import dataclass
from typing import Final

#: More than the requests that one ingest holds open by default: idle connections and probes.
_MOST_CONNECTIONS: Final = 4096
#: The rest of the process's file descriptors are for Kafka, Redis and ClickHouse.
_SHARE_OF_FILES: Final = 0.75


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """Limits of each connection, and of all connections of a server.

    Attributes:
        head_timeout_s: seconds from the begin of a request, or of the connection, to the end of its headers.
        head_bytes: request line and headers; nginx allows 32 kB.
        target_bytes: the request target; nginx allows 8 kB.
        header_bytes: name and value of one header; nginx allows 8 kB.
        headers: the number of headers; Apache allows 100.
        body_window_s: the seconds over which the rate of a body is measured.
        body_bytes_per_s: the lowest rate of a body; Apache asks for 500.
        framing_bytes: chunk extensions and trailers of a body.
        pipelined: requests of one connection that wait for their turn.
        idle_s: seconds between two requests on a connection.
        linger_s: seconds for which the rest that a refused client sends is read and dropped.
        linger_bytes: the most bytes of that rest.
        flush_s: seconds for which a client may read the rest of its response when the connection ends.
        connections: connections of the whole server.
    """

    head_timeout_s: float = 10.0
    head_bytes: int = 32 * 1024
    target_bytes: int = 8 * 1024
    header_bytes: int = 8 * 1024
    headers: int = 100
    body_window_s: float = 10.0
    body_bytes_per_s: int = 500
    framing_bytes: int = 32 * 1024
    pipelined: int = 16
    idle_s: int = 5
    linger_s: float = 5.0
    linger_bytes: int = 64 * 1024 * 1024
    flush_s: float = 30.0
    connections: int = _MOST_CONNECTIONS


def limits_of_process() -> HttpLimits:
    """Return the limits, with no more connections than the process's file limit has room for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return HttpLimits()
    return HttpLimits(connections=max(1, min(_MOST_CONNECTIONS, int(files * _SHARE_OF_FILES))))
