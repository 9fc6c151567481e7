"""Where a webhook may be sent: its URL must not reach into the operator's network."""

import re
import socket
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import msgspec

from streams.errors import InvalidRequest
from streams.webhooks.addresses import (
    Address,
    Network,
    Service,
    address_of,
    is_own,
    is_public,
    targets_of,
)

_HTTP_PORT, _HTTPS_PORT, _MAX_PORT = 80, 443, 65_535
#: RFC 1035: the longest name that there can be.
_MAX_HOST_CHARS = 253
#: The authority of a URL, restricted to what all parsers read alike: no escapes, no zones.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for targets of webhooks, which are `enabled` where they can be signed.

    Attributes:
        networks: private networks that may be reached.
        services: this installation's services, which may never be reached.
    """

    enabled: bool = True
    allow_http: bool = False
    networks: Sequence[Network] = ()
    services: Collection[Service] = frozenset()

    def check_url(self, url: str) -> str:
        """Check a URL without asking a name server, and return its host in lower case.

        Raises:
            InvalidRequest: the URL is not allowed, or there are no webhooks.
        """
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
