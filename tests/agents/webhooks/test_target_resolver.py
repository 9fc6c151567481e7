"""Where names lead, and which of the addresses may be connected to."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from ipaddress import ip_network

import pytest

from agents.webhooks.target_resolver import (
    ForbiddenTarget,
    GuardedResolver,
    LookUp,
    ServiceUnresolved,
    SystemResolver,
    TargetGuard,
)
from streams.webhooks.targets import Network, Service, Targets
from tests.fakes.webhook_targets import allows

OPEN = Targets(allow_http=True, networks=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")))


def says(names: Mapping[str, Sequence[str]]) -> LookUp:
    """A name server that knows these."""

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in names[host]]

    return look_up


def resolver(targets: Targets, names: Mapping[str, Sequence[str]]) -> GuardedResolver:
    look_up = says(names)
    return GuardedResolver(TargetGuard(targets, look_up=look_up), look_up=look_up)


async def test_of_several_addresses_only_allowed_ones_are_tried() -> None:
    """One private address among others is left out; where none is left, that is a refusal."""
    found = await resolver(OPEN, {"h": ["192.168.0.1", "127.0.0.1"]}).resolve("h", 80, socket.AF_UNSPEC)
    assert [each["host"] for each in found] == ["127.0.0.1"]
    with pytest.raises(ForbiddenTarget, match=r"h is 192\.168\.0\.1, .* not on the public internet"):
        await resolver(OPEN, {"h": ["192.168.0.1", "fd00::1"]}).resolve("h", 80, socket.AF_UNSPEC)


async def test_a_name_with_very_many_addresses() -> None:
    """A few are tried."""
    many = [f"10.0.0.{number}" for number in range(200)]
    assert len(await resolver(OPEN, {"h": many}).resolve("h", 80, socket.AF_UNSPEC)) == 8


async def test_the_systems_resolver() -> None:
    """A name that every machine knows, and one that none does."""
    system = SystemResolver(2)
    assert (socket.AF_INET, "127.0.0.1") in await system("localhost", 80)
    with pytest.raises(OSError, match=r"\S"):
        await system("nobody.invalid", 80)
    system.close()


@pytest.mark.parametrize(
    ("address", "port"), [("127.0.0.1", 8123), ("192.168.0.1", 80), ("169.254.169.254", 80)]
)
def test_a_socket_to_where_nothing_may_go(address: str, port: int) -> None:
    """None is made, whoever resolved the address: an address in a URL is resolved by nobody."""
    targets = Targets(networks=OPEN.networks, services={Service(host="127.0.0.1", port=8123)})
    guard = TargetGuard(targets, look_up=says({}))
    with pytest.raises(ForbiddenTarget, match=address):
        guard.open_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)))
    guard.open_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))).close()


async def test_services_that_are_known_by_name() -> None:
    """They are where their name leads now, and stay where they were while nobody knows it."""
    now, names = 0.0, {"clickhouse": ["10.0.0.5", "10.0.0.6"]}
    targets = Targets(networks=OPEN.networks, services={Service(host="clickhouse", port=8123)})
    guard = TargetGuard(targets, look_up=says(names), clock=lambda: now)
    await guard.refresh()

    def refused(address: str, port: int = 8123) -> bool:
        return not allows(guard.targets, address, port)

    assert refused("10.0.0.5")
    assert refused("10.0.0.6")
    assert not refused("10.0.0.5", 80)
    assert not refused("10.0.0.7")
    names["clickhouse"] = ["10.0.0.7"]
    await guard.refresh()
    assert not refused("10.0.0.7")  # not asked at every webhook
    now = 31.0
    await guard.refresh()
    assert refused("10.0.0.7")
    del names["clickhouse"]
    now = 62.0
    await guard.refresh()
    assert refused("10.0.0.7")


async def test_names_are_asked_for_once_by_many() -> None:
    """However many webhooks are sent at once."""
    asked, go = [], asyncio.Event()

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        asked.append(host)
        await go.wait()
        return [(socket.AF_INET, "10.0.0.5")]

    guard = TargetGuard(Targets(services={Service(host="clickhouse", port=8123)}), look_up=look_up)
    waiting = [asyncio.create_task(guard.refresh()) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*waiting)
    assert asked == ["clickhouse"]


@pytest.mark.parametrize(
    ("fault", "networks", "stops"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), OPEN.networks, True),
        (TimeoutError(), OPEN.networks, True),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), OPEN.networks, False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), (), False),
    ],
)
async def test_a_service_that_nobody_can_tell_the_address_of(
    fault: OSError, networks: Sequence[Network], stops: bool
) -> None:
    """Nothing is sent into networks where it may be; a name that does not exist is nowhere."""

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        raise fault

    targets = Targets(networks=networks, services={Service(host="clickhouse", port=8123)})
    with pytest.raises(ServiceUnresolved) if stops else nullcontext():
        await TargetGuard(targets, look_up=look_up).refresh()
