"""Which addresses a webhook may go to."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import InvalidRequest
from streams.webhooks.targets import Service, Targets, is_public
from tests.fakes.webhook_targets import allows

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
    assert not allows(PUBLIC, address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is(address: str) -> None:
    """Wrapped as well."""
    assert allows(PUBLIC, address)


def test_networks_that_are_allowed() -> None:
    """Those, and no other private one."""
    assert [allows(LOCAL, each) for each in ("127.0.0.9", "::1", "::ffff:127.0.0.1", "10.0.0.1")] == [
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


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "8.8.2056"]
)
def test_an_ipv4_address_in_another_form(host: str) -> None:
    """What one parser takes for a name and another for an address is refused, with how to write it."""
    for targets in (PUBLIC, LOCAL):
        with pytest.raises(InvalidRequest, match=r"usual form: (127\.0\.0\.1|8\.8\.8\.8)$"):
            targets.check_url(f"https://{host}/")


@pytest.mark.parametrize(
    "authority",
    [
        *"ho%6Fks.example hooks.example\\@10.0.0.1 [fe80::1%25eth0] [::1]x [::1 a[::1]".split(),
        *"hooks.example: hooks.example:x hooks.example:0 hooks.example:65536 :443".split(),
        "",
    ],
)
def test_an_authority_that_parsers_may_read_differently(authority: str) -> None:
    """Escapes, zones, backslashes and half an address are nobody's receiver."""
    with pytest.raises(InvalidRequest):
        PUBLIC.check_url(f"https://{authority}/hook")


OURS = Targets(
    allow_http=True,
    networks=LOCAL.networks,
    services={
        Service(host="127.0.0.1", port=8123),
        Service(host="kafka", port=9092),
        Service(host="llm.example", port=443, shared=True),
    },
)


@pytest.mark.parametrize(
    "authority",
    ["127.0.0.1:8123", "127.9.9.9:8123", "[::1]:8123", "[::ffff:127.0.0.1]:8123", "[::ffff:7f00:1]:8123",
     "localhost:8123", "LocalHost.:8123", "db.localhost:8123", "kafka:9092", "KAFKA.:9092"],
)  # fmt: skip
def test_our_own_services_are_refused_where_loopback_is_allowed(authority: str) -> None:
    """By every name and address of theirs that can be told without a name server."""
    with pytest.raises(InvalidRequest, match="installation") as caught:
        OURS.check_url(f"http://{authority}/?query=INSERT+INTO+FUNCTION+file('x')")
    assert caught.value.param == "webhook.url"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "http://localhost/", "http://kafka.example:9092/"])
def test_others_are_not(url: str) -> None:
    """Another port, another host."""
    assert OURS.check_url(url)


def test_a_port_that_the_url_leaves_out() -> None:
    """It is the scheme's."""
    with pytest.raises(InvalidRequest, match=r"llm\.example:443"):
        OURS.check_url("https://llm.example/v1")
    assert OURS.check_url("http://llm.example/v1") == "llm.example"


def test_where_webhooks_are_off() -> None:
    """The message names the setting."""
    with pytest.raises(InvalidRequest, match="HEADRACE_WEBHOOK_SECRET") as caught:
        Targets(enabled=False).check_url("https://hooks.example/")
    assert (caught.value.code, caught.value.param) == ("webhooks_off", "webhook")


_PREFIXES = ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::")


def spelled(address: IPv4Address) -> st.SearchStrategy[str]:
    """The hosts that a URL may write an IPv4 address as."""
    number, octets = int(address), address.packed
    forms = [str(address), str(number), hex(number), f"0{number:o}", f"{address}.",
             ".".join(hex(each) for each in octets), ".".join(f"0{each:o}" for each in octets),
             f"{octets[0]}.{number & 0xFFFFFF}", f"{octets[0]}.{octets[1]}.{number & 0xFFFF}"]  # fmt: skip
    held = [IPv6Address(int(IPv6Address(prefix)) | number) for prefix in _PREFIXES]
    held += [IPv6Address(0x2002 << 112 | number << 80), IPv6Address(0x20010000 << 96 | number ^ 0xFFFFFFFF)]
    for each in held:
        forms += [f"[{each}]", f"[{each.exploded}]", f"[{each}]".upper()]
    return st.sampled_from(forms)


special_ipv4 = st.ip_addresses(v=4).filter(lambda address: not is_public(address))


@settings(max_examples=50)
@given(special_ipv4.flatmap(spelled))
def test_no_form_of_a_special_address_is_taken(host: str) -> None:
    """Decimal, octal, hexadecimal, short, with a dot, mapped, translated, compatible, 6to4, Teredo."""
    with pytest.raises(InvalidRequest):
        PUBLIC.check_url(f"https://{host}/")


@settings(max_examples=50)
@given(st.ip_addresses(network="127.0.0.0/8", v=4).flatmap(spelled), st.sampled_from(["http", "https"]))
def test_no_form_of_loopback_leads_to_our_own_port(host: str, scheme: str) -> None:
    """Though loopback is allowed."""
    with pytest.raises(InvalidRequest):
        OURS.check_url(f"{scheme}://{host}:8123/")


@settings(max_examples=50)
@given(st.ip_addresses(v=4))
def test_an_address_that_holds_an_ipv4_one(address: IPv4Address) -> None:
    """Mapped and NAT64 ones are as public as the one they hold; of the other forms none is."""
    public = allows(PUBLIC, str(address))
    assert public == is_public(address)
    allowed = [allows(PUBLIC, str(IPv6Address(int(IPv6Address(each)) | int(address)))) for each in _PREFIXES]
    assert allowed == [False, public, False, public, False]
