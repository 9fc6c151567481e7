"""One request to a receiver, which is a real HTTP server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network

import pytest

from agents.webhooks.answers import Answer, Delivered, Gone, Refused, TryLater
from agents.webhooks.posting import HttpPosts
from agents.webhooks.resolution import ForbiddenTarget, GuardedResolver
from headrace.embedded.ports import free_port
from streams.webhook_targets import Targets
from tests.fakes.receiver import DROP, HANG, Receiver, Say, receiving

LOCAL = Targets(allow_http=True, networks=(ip_network("127.0.0.0/8"),))
#: Plain http, but only to the public internet.
PUBLIC = Targets(allow_http=True)

Addresses = dict[str, list[str]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything, until told otherwise."""
    with receiving() as started:
        yield started


def resolver(targets: Targets, names: Addresses) -> GuardedResolver:
    """A resolver to whom the names are given, instead of asking the system's."""

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in names[host]]

    return GuardedResolver(targets, look_up=look_up)


async def post(
    url: str, targets: Targets = LOCAL, *, names: Addresses | None = None, timeout_s: float = 10.0
) -> Answer:
    posts = HttpPosts(
        targets,
        timeout_s=timeout_s,
        in_flight=4,
        resolver=None if names is None else resolver(targets, names),
    )
    try:
        return await posts.post(url, b'{"a": 1}', {"content-type": "application/json", "webhook-id": "m"})
    finally:
        await posts.close()


async def test_it_arrives_as_it_was_given(receiver: Receiver) -> None:
    """Body and headers, byte for byte: they are signed."""
    assert await post(receiver.url("/hook?token=t%2F1")) == Delivered(200)
    (got,) = receiver.got
    assert (got.path, got.body) == ("/hook?token=t%2F1", b'{"a": 1}')
    assert (got.headers["content-type"], got.webhook_id) == ("application/json", "m")


async def test_what_the_receiver_answers(receiver: Receiver) -> None:
    """Its status, and how long it wants to be left alone."""
    answers = [Say(204), Say(410), Say(404), Say(503, {"Retry-After": "7"})]
    receiver.script = lambda got, before: answers[before]
    found = [await post(receiver.url()) for _ in answers]
    assert found == [Delivered(204), Gone(), Refused("it answered 404"), TryLater("it answered 503", 7.0)]


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    """They might lead to where the URL must not."""
    receiver.script = lambda got, before: Say(307, {"Location": receiver.url("/elsewhere")})
    answer = await post(receiver.url())
    assert isinstance(answer, Refused)
    assert "redirects are not followed" in answer.reason
    assert [got.path for got in receiver.got] == ["/hook"]


async def test_a_receiver_that_hangs(receiver: Receiver) -> None:
    """It has so long, and no longer."""
    receiver.script = lambda got, before: HANG
    assert await post(receiver.url(), timeout_s=0.3) == TryLater("it did not answer in time")


async def test_a_receiver_that_drops_the_connection(receiver: Receiver) -> None:
    """A fault that may pass."""
    receiver.script = lambda got, before: DROP
    assert isinstance(await post(receiver.url()), TryLater)


async def test_nobody_listens() -> None:
    """A fault that may pass."""
    assert isinstance(await post(f"http://127.0.0.1:{free_port()}/"), TryLater)


async def test_a_name_that_nobody_knows() -> None:
    """A fault that may pass: names come back."""
    assert isinstance(await post("http://hooks.example/", names={}), TryLater)


async def test_no_tls_where_tls_is_wanted(receiver: Receiver) -> None:
    """Nothing is sent in the clear, and a certificate may be mended."""
    answer = await post(f"https://127.0.0.1:{receiver.port}/hook")
    assert isinstance(answer, TryLater)
    assert receiver.got == []


async def test_a_long_answer_is_not_read(receiver: Receiver) -> None:
    """Its status counts; its connection is not used again, while that of a short one is."""
    receiver.script = lambda got, before: Say(200, body=b"x" * (10 if got.path == "/short" else 8_000_000))
    posts = HttpPosts(LOCAL, timeout_s=10, in_flight=1)
    for path in ("/short", "/short", "/long", "/long"):
        assert await posts.post(receiver.url(path), b"", {}) == Delivered(200)
    await posts.close()
    assert receiver.connections == 2


async def test_an_answer_that_never_ends(receiver: Receiver) -> None:
    """Its status came in time, and it is the status that counts."""
    receiver.script = lambda got, before: Say(200, {"content-length": "100"}, b"x")
    assert await post(receiver.url(), timeout_s=2.5) == Delivered(200)


async def test_a_compressed_answer_is_not_unpacked(receiver: Receiver) -> None:
    """A few bytes may unpack to gigabytes, or not at all."""
    receiver.script = lambda got, before: Say(200, {"Content-Encoding": "gzip"}, b"no gzip at all")
    assert await post(receiver.url()) == Delivered(200)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0.0.0.0", "2130706433", "127.1", "0x7f000001"])  # noqa: S104  # addresses to refuse
async def test_an_address_that_is_not_allowed(receiver: Receiver, host: str) -> None:
    """However it is written; nothing reaches it."""
    answer = await post(f"http://{host}:{receiver.port}/hook", PUBLIC)
    assert isinstance(answer, Refused), answer
    assert receiver.connections == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_to_one(receiver: Receiver, address: str) -> None:
    """What counts is where it leads at the time of the sending."""
    answer = await post(f"http://hooks.example:{receiver.port}/", PUBLIC, names={"hooks.example": [address]})
    assert answer == Refused(f"ForbiddenTarget: hooks.example is {address}, an address that is not allowed")
    assert receiver.connections == 0


async def test_a_name_is_resolved_once(receiver: Receiver) -> None:
    """And the connection made to the address that was checked: what the name says next does not matter."""
    says = [["127.0.0.1"], ["10.0.0.1"]]

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET, each) for each in says.pop(0)]

    posts = HttpPosts(LOCAL, timeout_s=10, in_flight=1, resolver=GuardedResolver(LOCAL, look_up=look_up))
    assert await posts.post(f"http://hooks.example:{receiver.port}/", b"", {}) == Delivered(200)
    await posts.close()
    assert says == [["10.0.0.1"]]


async def test_of_several_addresses_only_allowed_ones_are_tried(receiver: Receiver) -> None:
    """One private address among public ones is left out."""
    found = await resolver(LOCAL, {"h": ["10.0.0.1", "127.0.0.1"]}).resolve("h", 80, socket.AF_UNSPEC)
    assert [each["host"] for each in found] == ["127.0.0.1"]
    with pytest.raises(ForbiddenTarget):
        await resolver(LOCAL, {"h": ["10.0.0.1", "fd00::1"]}).resolve("h", 80, socket.AF_UNSPEC)


async def test_the_systems_resolver() -> None:
    """A name that every machine knows."""
    found = await GuardedResolver(LOCAL).resolve("localhost", 80, socket.AF_INET)
    assert {each["host"] for each in found} == {"127.0.0.1"}


@pytest.fixture(autouse=True)
async def _let_transports_close() -> AsyncIterator[None]:
    """A connection is closed one turn of the loop after its session."""
    yield
    await asyncio.sleep(0)
