"""Where this installation itself listens."""

from ipaddress import ip_address

import psutil
import pytest

from streams.webhooks.targets import Service, address_of, is_own, own_services, service_at

_NOTHING = {"kafka": "", "redis": "", "clickhouse": (), "providers": (), "listening": (), "others": ()}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"kafka": "k1:9092, K2:9093,PLAIN://k3"}, {("k1", 9092), ("k2", 9093), ("k3", 9092)}),
        ({"redis": "redis://:secret@127.0.0.1:6380/0"}, {("127.0.0.1", 6380)}),
        ({"redis": "rediss://cache.example"}, {("cache.example", 6379)}),
        ({"redis": "unix:///run/redis.sock"}, set()),
        ({"clickhouse": ("http://u:p@ch", "https://[fd00::1]")}, {("ch", 8123), ("fd00::1", 8443)}),
        ({"providers": ("https://llm.example/v1",)}, {("llm.example", 443)}),
        ({"listening": (("0.0.0.0", 8000), ("127.0.0.1", 0))}, {("0.0.0.0", 8000)}),  # noqa: S104  # an address
        ({"listening": (("", 8000), ("Box", 8100))}, {("::", 8000), ("box", 8100)}),
        ({"others": ("ingest:8000", "[::1]:9")}, {("ingest", 8000), ("::1", 9)}),
    ],
)
def test_what_the_settings_name(given: dict[str, object], found: set[tuple[str, int]]) -> None:
    """Each with its port, the client's own where the address names none; without credentials."""
    services = own_services(**(_NOTHING | given))  # type: ignore[arg-type]  # a table
    assert {(each.host, each.port) for each in services} == found


@pytest.mark.parametrize(
    "text", ["ingest", "ingest:", ":80", "ingest:80/x", "u@ingest:80", "ingest:99999", ""]
)
def test_what_is_no_service(text: str) -> None:
    """The message says what it must be."""
    with pytest.raises(ValueError, match=r"host:port|[Pp]ort"):
        service_at(text)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("localhost", "127.0.0.1"),
        ("LOCALHOST.", "127.0.0.1"),
        ("db.localhost", "127.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("hooks.example", None),
        ("notlocalhost", None),
    ],
)
def test_hosts_that_need_no_name_server(host: str, address: str | None) -> None:
    """Addresses, and the names that are this machine on every machine."""
    found = address_of(host)
    assert (str(found) if found else None) == address


def own_card() -> str:
    """An address of this machine that is not loopback, or loopback where it has no other."""
    addresses = [each.address for card in psutil.net_if_addrs().values() for each in card if each.family == 2]
    return next((each for each in addresses if not each.startswith("127.")), "127.0.0.1")


@pytest.mark.parametrize("own", ["127.0.0.1", "::1", "0.0.0.0", "localhost"])  # noqa: S104  # an address
@pytest.mark.parametrize(
    "asked",
    [
        *"127.0.0.1 127.8.9.1 0.0.0.0 ::1 :: ::ffff:127.0.0.1 64:ff9b::127.0.0.1 ::127.0.0.1".split(),
        own_card(),
    ],
)
def test_this_machine_is_one(own: str, asked: str) -> None:
    """By whatever address; and the port counts."""
    services = {Service(host=own, port=8123)}
    assert is_own(services, ip_address(asked), 8123)
    assert not is_own(services, ip_address(asked), 8124)


def test_other_machines_are_compared_by_address() -> None:
    """A name is resolved by who sends; here it is nobody's address."""
    services = {Service(host="10.0.0.5", port=8123), Service(host="clickhouse", port=8123)}
    assert is_own(services, ip_address("10.0.0.5"), 8123)
    assert not is_own(services, ip_address("10.0.0.6"), 8123)
    assert not is_own(services, ip_address("127.0.0.1"), 8123)


def test_a_public_address_that_others_share() -> None:
    """A provider behind a CDN does not close the CDN to receivers; on a private address it is ours alone."""
    shared = {Service(host=host, port=443, shared=True) for host in ("1.1.1.1", "10.0.0.7")}
    assert not is_own(shared, ip_address("1.1.1.1"), 443)
    assert is_own(shared, ip_address("10.0.0.7"), 443)
    assert is_own({Service(host="1.1.1.1", port=443)}, ip_address("1.1.1.1"), 443)
