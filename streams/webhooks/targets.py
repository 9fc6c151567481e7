"""Where a webhook may be sent: public addresses only, and none of this installation's services.

`ipaddress` follows IANA's registries as of its Python version, so that an older Python lacks newer ranges.
`tests/fakes/iana_ranges.py` has the registries as of 2025-10-09; a test compares `is_public` with them.
"""

import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import msgspec
import psutil

from streams.errors import InvalidRequest

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

_DEFAULT_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}
#: clickhouse-connect's: it takes a URL without a port for one of ClickHouse's own.
_CLICKHOUSE_PORTS = {"http": 8123, "https": 8443}
_KAFKA_PORT = 9092


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service of this installation, or one that it calls; `host` is a name or an address, in lower case.

    `shared`: whether others may have the same public address, as at a CDN: then only its name is refused.
    """

    host: str
    port: int
    shared: bool = False


def service_at(text: str, *, default_port: int = 0) -> Service:
    """Read ``host:port``; raise `ValueError` for anything else."""
    parts = urlsplit("//" + text.strip().rpartition("://")[2])
    port = parts.port or default_port
    if not parts.hostname or not port or parts.path or parts.username is not None:
        raise ValueError(f"{text!r} must be host:port")
    return Service(host=parts.hostname, port=port)


def _brokers(bootstrap: str) -> Iterator[Service]:
    for each in bootstrap.split(","):
        with suppress(ValueError):  # Kafka's client refuses it, with a better message
            yield service_at(each, default_port=_KAFKA_PORT)


def _of_url(url: str, default_ports: Mapping[str, int], *, shared: bool = False) -> Iterator[Service]:
    """Return the service of a URL; none for one without a host, as ``unix:///run/redis.sock``."""
    with suppress(ValueError):
        parts = urlsplit(url)
        port = parts.port or default_ports.get(parts.scheme)
        if parts.hostname and port:
            yield Service(host=parts.hostname, port=port, shared=shared)


def own_services(
    *,
    kafka: str,
    redis: str,
    clickhouse: Iterable[str],
    providers: Iterable[str],
    listening: Iterable[tuple[str, int]],
    others: Iterable[str],
) -> frozenset[Service]:
    """Return every service of an installation; `ValueError` says which of the `others` is not ``host:port``.

    `kafka` has the brokers, separated by commas. Of our servers, `listening`, port 0 is none, and no host is
    every address. The rest are URLs.
    """
    found = [*_brokers(kafka), *_of_url(redis, _DEFAULT_PORTS)]
    found += [each for url in clickhouse for each in _of_url(url, _CLICKHOUSE_PORTS)]
    found += [each for url in providers for each in _of_url(url, _DEFAULT_PORTS, shared=True)]
    found += [Service(host=host.lower() or "::", port=port) for host, port in listening if port]
    found += [service_at(each) for each in others]
    return frozenset(found)


def address_of(host: str) -> Address | None:
    """Return the address of a host that needs no name server; None for other names.

    ``localhost`` and all names under it are this machine (RFC 6761).
    """
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return ip_address("127.0.0.1")
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def is_own(services: Iterable[Service], address: Address, port: int) -> bool:
    """Whether one of the services that are given by address listens there.

    All addresses of this machine count as one: a service on 127.0.0.1 may be reached at ``::1``, at
    ``0.0.0.0`` or at the address of a network card.
    """
    owned = [
        own
        for each in services
        if each.port == port and (own := address_of(each.host)) and not (each.shared and is_public(own))
    ]
    return any(
        one == own or (_is_this_machine(one) and _is_this_machine(own))
        for own in owned
        for one in targets_of(address)
    )


def _is_this_machine(address: Address) -> bool:
    if address.is_loopback or address.is_unspecified:
        return True
    cards = psutil.net_if_addrs().values()
    return str(address) in {each.address.partition("%")[0] for card in cards for each in card}


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


_HTTP_PORT, _HTTPS_PORT, _MAX_PORT = 80, 443, 65_535
#: RFC 1035: the longest name that there can be.
_MAX_HOST_CHARS = 253
#: The authority of a URL, restricted to what all parsers read alike: no escapes, no zones.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for targets of webhooks, which are `enabled` where they can be signed.

    The private `networks` may be reached; this installation's `services` never.
    """

    enabled: bool = True
    allow_http: bool = False
    networks: Sequence[Network] = ()
    services: Collection[Service] = frozenset()

    def check_url(self, url: str) -> str:
        """Return a URL's host in lower case, or raise `InvalidRequest`. No name server is asked."""
        if not self.enabled:
            raise InvalidRequest(
                "webhooks are off here: HEADRACE_WEBHOOK_SECRET, which they are signed with, is not set",
                code="webhooks_off",
                param="webhook",
            )
        host, port = self._authority(url)
        if (usual := _usual_form(host)) is not None:
            raise _refused(f"must write an address in its usual form: {usual}")
        if any((each.host, each.port) == (host.rstrip("."), port) for each in self.services):
            raise _refused(f"names a service of this installation: {host}:{port}")
        address = address_of(host)
        if address is not None and (why := self.objection(address, port)):
            raise _refused(f"names an address that is not allowed: {host} {why}")
        return host

    def objection(self, address: Address, port: int) -> str | None:
        """Return why nothing may be sent to an address and port; None where it may."""
        for each in targets_of(address):
            if not (is_public(each) or any(each in network for network in self.networks)):
                return "is not on the public internet" if each == address else f"leads to {each}"
        if is_own(self.services, address, port):
            return f"with port {port} is this installation's own"
        return None

    def _authority(self, url: str) -> tuple[str, int]:
        """Return host and port of a URL; raise `InvalidRequest` where it is not well-formed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as fault:
            raise _refused(f"is no URL: {fault}") from fault
        if any(not "!" <= char <= "~" for char in url):
            raise _refused("must be in ASCII, without spaces: encode what is not")
        if parts.scheme != "https" and not (self.allow_http and parts.scheme == "http"):
            raise _refused(f"must begin with https://{' or http://' if self.allow_http else ''}")
        if parts.username is not None or parts.password is not None:
            raise _refused("must not hold a user or password: what is sent is signed instead")
        if not host or len(host) > _MAX_HOST_CHARS or not _AUTHORITY.fullmatch(parts.netloc) or port == 0:
            raise _refused(
                f"must name a host of at most {_MAX_HOST_CHARS} characters, and a port from 1 to {_MAX_PORT} "
                "if any"
            )
        return host, port or (_HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT)


def _usual_form(host: str) -> str | None:
    """Return an IPv4 address in its usual form where it is written in another: 127.1, 0x7f000001."""
    try:
        usual = socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None
    return None if host == usual else usual


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"webhook.url {why}", code="invalid_webhook", param="webhook.url")
