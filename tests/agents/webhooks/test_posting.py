"""One request to a receiver, which is a real HTTP server."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network

import pytest

from agents.webhooks.posting import DeliveryResult, Done, Rejected, TryLater, WebhookPoster
from agents.webhooks.target_resolver import LookUp
from headrace.embedded.process import free_port
from streams.webhooks.targets import Service, Targets
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


def says(names: Addresses) -> LookUp:
    """A name server to whom the names are given; the system's is not asked."""

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in names[host]]

    return look_up


async def post(
    url: str, targets: Targets = LOCAL, *, names: Addresses | None = None, timeout_s: float = 10.0
) -> DeliveryResult:
    posts = WebhookPoster(
        targets, timeout_s=timeout_s, in_flight=4, look_up=None if names is None else says(names)
    )
    try:
        return await posts.post(url, b'{"a": 1}', {"content-type": "application/json", "webhook-id": "m"})
    finally:
        await posts.close()


async def test_it_arrives_as_it_was_given(receiver: Receiver) -> None:
    """Body and headers, byte for byte: they are signed."""
    assert await post(receiver.url("/hook?token=t%2F1")) == Done("delivered")
    (got,) = receiver.got
    assert (got.path, got.body) == ("/hook?token=t%2F1", b'{"a": 1}')
    assert (got.headers["content-type"], got.webhook_id) == ("application/json", "m")


async def test_what_the_receiver_answers(receiver: Receiver) -> None:
    """Its status, and how long it wants to be left alone."""
    answers = [Say(204), Say(410), Say(404), Say(503, {"Retry-After": "7"})]
    receiver.script = lambda got, before: answers[before]
    found = [await post(receiver.url()) for _ in answers]
    assert found == [
        Done("delivered"),
        Done("gone"),
        Rejected("it answered 404"),
        TryLater("it answered 503", 7.0),
    ]


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    """They might lead to where the URL must not."""
    receiver.script = lambda got, before: Say(307, {"Location": receiver.url("/elsewhere")})
    answer = await post(receiver.url())
    assert isinstance(answer, Rejected)
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
    posts = WebhookPoster(LOCAL, timeout_s=10, in_flight=1)
    for path in ("/short", "/short", "/long", "/long"):
        assert await posts.post(receiver.url(path), b"", {}) == Done("delivered")
    await posts.close()
    assert receiver.connections == 2


async def test_an_answer_that_never_ends(receiver: Receiver) -> None:
    """Its status came in time, and it is the status that counts."""
    receiver.script = lambda got, before: Say(200, {"content-length": "100"}, b"x")
    assert await post(receiver.url(), timeout_s=2.5) == Done("delivered")


async def test_a_compressed_answer_is_not_unpacked(receiver: Receiver) -> None:
    """A few bytes may unpack to gigabytes, or not at all."""
    receiver.script = lambda got, before: Say(200, {"Content-Encoding": "gzip"}, b"no gzip at all")
    assert await post(receiver.url()) == Done("delivered")


async def test_a_header_that_is_too_long(receiver: Receiver) -> None:
    """It is not read to its end, nor are too many of them."""
    headers = [{"x": "y" * 100_000}, {f"x-{number}": "y" for number in range(1_000)}]
    receiver.script = lambda got, before: Say(200, headers[before])
    for _ in headers:
        assert isinstance(await post(receiver.url()), TryLater)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0.0.0.0", "2130706433", "127.1", "0x7f000001"])  # noqa: S104  # addresses to refuse
async def test_an_address_that_is_not_allowed(receiver: Receiver, host: str) -> None:
    """However it is written; nothing reaches it."""
    answer = await post(f"http://{host}:{receiver.port}/hook", PUBLIC)
    assert isinstance(answer, Rejected), answer
    assert receiver.connections == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_to_one(receiver: Receiver, address: str) -> None:
    """What counts is where it leads at the time of the sending."""
    answer = await post(f"http://hooks.example:{receiver.port}/", PUBLIC, names={"hooks.example": [address]})
    assert isinstance(answer, Rejected)
    assert f"hooks.example is {address}, an address that is not allowed" in answer.reason
    assert receiver.connections == 0


async def test_a_name_is_resolved_once(receiver: Receiver) -> None:
    """And the connection made to the address that was checked, with the name as its Host."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def look_up(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET, each) for each in answers.pop(0)]

    posts = WebhookPoster(LOCAL, timeout_s=10, in_flight=1, look_up=look_up)
    assert await posts.post(f"http://hooks.example:{receiver.port}/", b"", {}) == Done("delivered")
    await posts.close()
    assert answers == [["10.0.0.1"]]
    assert receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}"


async def test_tls_asks_for_the_name() -> None:
    """The server at the checked address is to prove that it is who the URL names."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: asked.append(name)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://hooks.example:{server.sockets[0].getsockname()[1]}/"
        answer = await post(url, names={"hooks.example": ["127.0.0.1"]})
    assert isinstance(answer, TryLater)
    assert asked == ["hooks.example"]


async def test_the_environments_proxy_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would resolve the name once more, where nobody checks it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert await post(receiver.url()) == Done("delivered")


def ours(host: str, port: int, *, shared: bool = False) -> Targets:
    """What is allowed where a service of ours listens there, and loopback is open."""
    service = Service(host=host, port=port, shared=shared)
    networks = (*LOCAL.networks, ip_network("10.0.0.0/8"))
    return Targets(allow_http=True, networks=networks, services={service})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "0.0.0.0", "::1", "::ffff:127.0.0.1"])  # noqa: S104  # addresses to refuse
@pytest.mark.parametrize("own", ["127.0.0.1", "::1", "redis"])
async def test_a_name_that_leads_to_a_service_of_ours(receiver: Receiver, own: str, address: str) -> None:
    """Refused at the time of the sending, though loopback is open; its neighbour is not."""
    names = {"hooks.example": [address], "redis": ["127.0.0.1"]}
    url = f"http://hooks.example:{receiver.port}/"
    assert isinstance(await post(url, ours(own, receiver.port), names=names), Rejected)
    assert receiver.connections == 0
    names = {"hooks.example": ["127.0.0.1"], "redis": ["127.0.0.1"]}
    assert await post(url, ours(own, receiver.port + 1), names=names) == Done("delivered")


async def test_a_redirect_to_a_service_of_ours(receiver: Receiver) -> None:
    """It is not followed, whatever it is."""
    with receiving() as service:
        location = {"Location": service.url("/?query=SELECT+1")}
        statuses = [301, 302, 303, 307, 308]
        receiver.script = lambda got, before: Say(statuses[before], location)
        for _ in statuses:
            assert isinstance(await post(receiver.url(), ours("127.0.0.1", service.port)), Rejected)
        assert service.connections == 0


@pytest.fixture(autouse=True)
async def _let_transports_close() -> AsyncIterator[None]:
    """A connection is closed one turn of the loop after its session."""
    yield
    await asyncio.sleep(0)
