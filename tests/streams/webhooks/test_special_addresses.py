"""Which addresses are on the public internet, by IANA's registries."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.webhooks.special_addresses import SPECIAL_RANGES, Address, SpecialRange, meant, special_range

_BITS = {4: 32, 6: 128}


def registered(address: Address) -> bool:
    """Whether a range that is not globally reachable holds an address: by bits, not by `ipaddress`."""
    bits = _BITS[address.version]
    return any(
        not each.globally_reachable
        and each.network.version == address.version
        and int(address) >> (bits - each.network.prefixlen)
        == int(each.network.network_address) >> (bits - each.network.prefixlen)
        for each in SPECIAL_RANGES
    )


def around(special: SpecialRange) -> list[Address]:
    """First, last and middle of a range, and its neighbours outside."""
    kind = IPv4Address if special.network.version == 4 else IPv6Address
    first, last = int(special.network.network_address), int(special.network.broadcast_address)
    numbers = {first, last, (first + last) // 2, first - 1, last + 1}
    return [kind(each) for each in sorted(numbers) if 0 <= each < 1 << _BITS[special.network.version]]


@pytest.mark.parametrize("special", SPECIAL_RANGES, ids=lambda each: str(each.network))
def test_every_registered_range(special: SpecialRange) -> None:
    """Its first, last and middle address are judged as it is registered, its neighbours as theirs are."""
    for address in around(special):
        found = special_range(address)
        assert (found is not None) == registered(address), address
        if found is not None:
            assert address in found.network
        if address in special.network and not special.globally_reachable:
            assert found is not None
            assert found.network.prefixlen >= special.network.prefixlen


@pytest.mark.parametrize(
    "prefix",
    """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    ::/128 ::1/128 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23
    2001::/32 2001:2::/48 2001:10::/28 2001:20::/28 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7
    fe80::/10 fec0::/10 ff00::/8
    """.split(),
)
def test_no_range_of_another_use_is_public(prefix: str) -> None:
    """Written down a second time, from the registries' own pages: what a table lacks, no test of it finds."""
    network = ip_network(prefix)
    for address in (network.network_address, network[network.num_addresses // 2], network.broadcast_address):
        assert special_range(address) is not None, address


@pytest.mark.parametrize(
    "address",
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 172.32.0.0 192.31.196.1 192.175.48.6 223.255.255.255
    2001:200:: 2001:4860:4860::8888 2606:4700::1111 2620:4f:8000::6 3ffe::1
    """.split(),
)
def test_what_is_public(address: str) -> None:
    """Among them special ranges that are registered as globally reachable."""
    assert special_range(ip_address(address)) is None


@given(st.ip_addresses())
def test_any_address(address: Address) -> None:
    """The rule is the table, for every address."""
    assert (special_range(address) is not None) == registered(address)


@given(st.ip_addresses(v=6))
def test_ipv6_outside_global_unicast_is_never_public(address: IPv6Address) -> None:
    """IANA has assigned 2000::/3 alone; an address that stands for an IPv4 one is judged as that."""
    if int(address) >> 125 != 1:
        assert special_range(address) is not None


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
    assert [str(each) for each in meant(ip_address(address))] == ends_at
