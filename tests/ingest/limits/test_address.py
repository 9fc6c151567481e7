"""Which address a request comes from."""

from ipaddress import ip_network

import pytest

from ingest.limits.address import client_address

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["192.0.2.1"], "203.0.113.7"),  # nobody asked who says so
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.66, 192.0.2.1"], "192.0.2.1"),  # the first was invented by the second
        ("10.0.0.1", ["192.0.2.66", "192.0.2.1,10.9.9.9"], "192.0.2.1"),  # two headers are one list
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # nobody but our own
        ("10.0.0.1", ["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["", ","], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1:5123"], "192.0.2.1"),
        ("fd00::1", ["[2001:db8:1:2:3:4:5:6]:443"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", [], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        (None, ["192.0.2.1"], None),
        ("", ["192.0.2.1"], None),
    ],
)
def test_only_trusted_proxies_say_who_is_behind_them(
    peer: str | None, forwarded: list[str], found: str | None
) -> None:
    """Read from the right, for as long as a trusted proxy wrote it."""
    assert client_address(peer, forwarded, TRUSTED) == found


def test_nobody_is_trusted_by_default() -> None:
    """Whoever sends the header could be anybody otherwise."""
    assert client_address("10.0.0.1", ["192.0.2.1"], ()) == "10.0.0.1"
