"""Which IP addresses are on the public internet: the standard library's answer, and what it lacks.

`ipaddress` follows IANA's registries as of its Python version, so that an older Python lacks newer ranges.
`tests/fakes/iana_ranges.py` has the registries as of 2025-10-09; a test compares `is_public` with them.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The only part of IPv6 that IANA has assigned to public addresses.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
#: Ranges that are not public, or of no use to a webhook, and that some supported Python takes for public.
_LACKING: tuple[Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv4Network("192.88.99.0/24"),  # 6to4 relays (deprecated)
    IPv6Network("2001::/23"),  # IETF protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)
#: An IPv4 address in the last four bytes: IPv4-mapped, and NAT64 (RFC 6052). Nothing else is reached by them.
_STAND_FOR_IPV4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
_HOLD_IPV4 = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet. One that stands for an IPv4 address: see `targets_of`."""
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _LACKING)


def targets_of(address: Address) -> tuple[Address, ...]:
    """Return the addresses at which a packet to this one may arrive: some IPv6 addresses hold an IPv4 one.

    Of an IPv4-mapped and of a NAT64 address that is the IPv4 address alone. ``::`` and ``::1`` hold none.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _STAND_FOR_IPV4):
        return (last,)
    held = [last] if any(address in network for network in _HOLD_IPV4) and int(address) > 1 else []
    held += [address.sixtofour] if address.sixtofour else []
    held += address.teredo or []
    return (address, *held)
