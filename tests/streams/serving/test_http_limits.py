"""The limits of a process."""

import resource

from streams.serving.http_limits import HttpLimits, limits_of_process
from streams.serving.protocol import http_config
from tests.streams.serving.raw_http import Echo


def test_connections_leave_files_for_the_rest_of_the_process() -> None:
    """Kafka, Redis and ClickHouse need some; with files enough, the default counts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
        assert limits_of_process() == HttpLimits(connections=750)
        protocol = http_config(Echo(), grace_s=0.5).http
        assert protocol.limits.connections == 750  # type: ignore[union-attr]  # it is one of ours
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_speaks_nothing_but_http_and_ends_in_time() -> None:
    """No WebSockets; and uvicorn takes whole seconds, of which zero would be no end."""
    config = http_config(Echo(), grace_s=0.5)
    assert (config.ws, config.timeout_graceful_shutdown) == ("none", 1)
