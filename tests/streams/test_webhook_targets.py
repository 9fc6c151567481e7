"""Which addresses a webhook may go to."""

from ipaddress import ip_network

import pytest

from streams.errors import InvalidRequest
from streams.webhook_targets import Targets

PUBLIC = Targets()
LOCAL = Targets(allow_http=True, networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # an address to refuse
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_what_is_not_on_the_public_internet(address: str) -> None:
    """Loopback, private, link-local (the clouds' metadata), shared, multicast; wrapped into IPv6 too."""
    assert not PUBLIC.allows(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is(address: str) -> None:
    """Wrapped as well."""
    assert PUBLIC.allows(address)


def test_networks_that_are_allowed() -> None:
    """Those, and no other private one."""
    assert [LOCAL.allows(each) for each in ("127.0.0.9", "::1", "::ffff:127.0.0.1", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.Example/a?b=c", "hooks.example"),
        ("https://hooks.example:8443/", "hooks.example"),
        ("https://8.8.8.8/", "8.8.8.8"),
        ("https://[2606:4700::1111]/", "2606:4700::1111"),
    ],
)
def test_a_url_that_is_allowed(url: str, host: str) -> None:
    """Its host comes back as everybody writes it."""
    assert PUBLIC.check_url(url) == host


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example/", "must begin with https://"),
        ("ftp://hooks.example/", "must begin with https://"),
        ("hooks.example", "must begin with https://"),
        ("https:///path", "must name a host"),
        (f"https://{'a' * 254}/", "must name a host of at most 253 characters"),
        ("https://hooks.example:0/", "must name a host of"),
        ("https://hooks.example:99999/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://ann:secret@hooks.example/", "must not hold a user or password"),
        ("https://127.0.0.1/", "not allowed: 127.0.0.1"),
        ("https://[::ffff:10.0.0.1]/", "not allowed"),
        ("https://hooks.example/a b", "must be in ASCII"),
        ("https://hooks.example/\r\nX: y", "must be in ASCII"),
        ("https://häuser.example/", "must be in ASCII"),
    ],
)
def test_a_url_that_is_refused(url: str, why: str) -> None:
    """The message says what to change."""
    with pytest.raises(InvalidRequest, match=why) as caught:
        PUBLIC.check_url(url)
    assert (caught.value.code, caught.value.param) == ("invalid_webhook", "webhook.url")


def test_http_where_it_is_allowed() -> None:
    """On one machine; still not to any private address."""
    assert LOCAL.check_url("http://127.0.0.1:8000/hook") == "127.0.0.1"
    with pytest.raises(InvalidRequest):
        LOCAL.check_url("http://10.0.0.1/")
