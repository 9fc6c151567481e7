import socket

import pytest

from headrace.embedded.errors import PortInUse
from headrace.embedded.process import LOOPBACK, choose_port, free_port, is_free


@pytest.fixture
def taken() -> object:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_free_port_can_be_listened_on() -> None:
    """What free_port returns is free."""
    with socket.create_server((LOOPBACK, free_port())) as server:
        assert server.getsockname()[0] == LOOPBACK


def test_free_ports_are_not_ephemeral() -> None:
    """A port that the kernel hands to clients could make a reconnecting client connect to itself."""
    assert all(20_000 <= free_port() < 32_000 for _ in range(20))


def test_a_taken_port_is_named_with_the_setting_to_change(taken: int) -> None:
    """The error says which port and what to set."""
    with pytest.raises(PortInUse, match=rf"port {taken} .* set HEADRACE_X_PORT") as caught:
        choose_port(taken, setting="HEADRACE_X_PORT")
    assert caught.value.port == taken


def test_a_port_with_connections_in_time_wait_is_free() -> None:
    """A server that just stopped can come back to its port at once."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps TIME_WAIT
    assert is_free(port)


@pytest.mark.parametrize("wanted", [None, 0])
def test_no_port_asked_for_takes_a_free_one(wanted: int | None) -> None:
    """None and 0 both mean: any."""
    assert choose_port(wanted, setting="X") > 0


def test_the_port_asked_for_is_taken_or_refused(taken: int) -> None:
    """A given port is used as it is, or the start fails; never silently another."""
    port = free_port()
    assert choose_port(port, setting="X") == port
    with pytest.raises(PortInUse):
        choose_port(taken, setting="X")
