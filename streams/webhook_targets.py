"""Which addresses a webhook may be sent to: whoever names one must not reach into the operator's network."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import msgspec

from streams.errors import InvalidRequest

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

#: RFC 6052: an IPv4 address in the last four bytes, which a NAT64 gateway forwards to.
_NAT64 = IPv6Network("64:ff9b::/96")
_MAX_PORT = 65_535
#: RFC 1035: the longest name that there can be.
_MAX_HOST_CHARS = 253


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed.

    Attributes:
        allow_http: whether a URL may be http; else only https.
        networks: addresses that may be reached though they are not on the public internet.
    """

    allow_http: bool = False
    networks: Sequence[Network] = ()

    def check_url(self, url: str) -> str:
        """Check what can be seen without asking a name server, and return the URL's host, in lower case.

        Raises:
            InvalidRequest: what is wrong with the URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as fault:
            raise _refused(f"is no URL: {fault}") from fault
        if any(not "!" <= char <= "~" for char in url):
            raise _refused("must be in ASCII, without spaces: encode what is not")
        if parts.scheme != "https" and not (self.allow_http and parts.scheme == "http"):
            raise _refused(f"must begin with https://{' or http://' if self.allow_http else ''}")
        if not host or len(host) > _MAX_HOST_CHARS or (port is not None and not 0 < port <= _MAX_PORT):
            raise _refused(
                f"must name a host of at most {_MAX_HOST_CHARS} characters, and a port from 1 to {_MAX_PORT} "
                "if any"
            )
        if parts.username is not None or parts.password is not None:
            raise _refused("must not hold a user or password: what is sent is signed instead")
        if is_address(host) and not self.allows(host):
            raise _refused(f"names an address that is not allowed: {host}")
        return host

    def allows(self, address: str) -> bool:
        """Whether a webhook may be sent to an IP address: a public one, or one in the networks."""
        found = ip_address(address.partition("%")[0])
        return all(
            any(each in network for network in self.networks) or (each.is_global and not each.is_multicast)
            for each in _meant(found)
        )


def is_address(host: str) -> bool:
    """Whether a host is an IP address, rather than a name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _meant(address: _Address) -> Iterator[_Address]:
    """Return the addresses that a packet to this one may end at: some IPv6 addresses wrap an IPv4 one."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        if address in _NAT64:
            yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"webhook.url {why}", code="invalid_webhook", param="webhook.url")
