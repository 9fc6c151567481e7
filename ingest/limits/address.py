"""Which address a request comes from, behind proxies that are trusted and others that are not."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
_IPV6_PREFIX = 64


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> str | None:
    """Return the client's address, of IPv6 its /64 network; None where not even the peer has one.

    `forwarded` are the values of `X-Forwarded-For`, in order. Each proxy appends whom it serves, so they are
    read from the right for as long as they were written by a trusted proxy; what is left of that may be
    invented. What is no address ends the reading.
    """
    client = _address(peer or "")
    if client is None:
        return None
    for hop in reversed([hop for value in forwarded for hop in value.split(",")]):
        if not any(client in network for network in trusted):
            break
        before = _address(hop.strip())
        if before is None:
            break
        client = before
    if isinstance(client, IPv6Address):
        return str(ip_network((client.packed, _IPV6_PREFIX), strict=False))
    return str(client)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address that may have a port, `192.0.2.1:80` or `[2001:db8::1]:80`; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
