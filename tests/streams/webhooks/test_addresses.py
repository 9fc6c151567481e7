"""Which addresses are on the public internet, by IANA's registries."""

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.webhooks.targets import Address, Network, is_public, targets_of
from tests.fakes.iana_ranges import GLOBALLY_REACHABLE, NOT_REACHABLE


def registered(address: Address) -> bool:
    """Whether a range that is not globally reachable holds an address."""
    return any(address in network for network in NOT_REACHABLE)


@pytest.mark.parametrize("network", [*NOT_REACHABLE, *GLOBALLY_REACHABLE], ids=str)
def test_every_registered_range(network: Network) -> None:
    """Its first, last and middle address are judged as registered, and so are its neighbours."""
    first, last = int(network.network_address), int(network.broadcast_address)
    for number in {first, last, (first + last) // 2, first - 1, last + 1}:
        if 0 <= number <= 2**network.max_prefixlen - 1:
            address = type(network.network_address)(number)
            assert is_public(address) is not registered(address), address


@pytest.mark.parametrize(
    "address",
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 172.32.0.0 192.31.196.1 192.175.48.6 223.255.255.255
    2001:200:: 2001:4860:4860::8888 2606:4700::1111 2620:4f:8000::6 3ffe::1
    """.split(),
)
def test_what_is_public(address: str) -> None:
    """Among them special ranges that are registered as globally reachable."""
    assert is_public(ip_address(address))


@settings(max_examples=50)
@given(st.ip_addresses())
def test_any_address(address: Address) -> None:
    """The rule is the registry, for every address."""
    assert is_public(address) is not registered(address)


@settings(max_examples=50)
@given(st.ip_addresses(v=6))
def test_ipv6_outside_global_unicast_is_never_public(address: IPv6Address) -> None:
    """IANA has assigned 2000::/3 alone; an address that stands for an IPv4 one is judged as that."""
    if int(address) >> 125 != 1:
        assert not is_public(address)


@pytest.mark.parametrize(
    ("address", "ends_at"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("2606:4700::1", ["2606:4700::1"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"]),
        ("64:ff9b::10.0.0.1", ["10.0.0.1"]),
        ("::10.0.0.1", ["::a00:1", "10.0.0.1"]),
        ("::ffff:0:10.0.0.1", ["::ffff:0:a00:1", "10.0.0.1"]),
        ("64:ff9b:1::10.0.0.1", ["64:ff9b:1::a00:1", "10.0.0.1"]),
        ("2002:a00:1::", ["2002:a00:1::", "10.0.0.1"]),
        ("2001::f5ff:fffe", ["2001::f5ff:fffe", "0.0.0.0", "10.0.0.1"]),  # noqa: S104  # Teredo's server
    ],
)
def test_where_a_packet_may_arrive(address: str, ends_at: list[str]) -> None:
    """Mapped, translated, compatible, 6to4 and Teredo: each holds an IPv4 address."""
    assert [str(each) for each in targets_of(ip_address(address))] == ends_at
