"""What goes over the wire to a provider: heads, connections, proxies, bounds."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.faults import ConnectionLost, ProviderFault, RateLimited, ServerFault
from agents.providers.http_client import HttpClient, StatusError, proxy_of
from agents.providers.openai.chat import OpenAIChat
from agents.providers.provider import Answer
from tests.agents.providers.odd_servers import CALL, delta, message, sse, whole
from tests.agents.providers.simulated import complete, streamed
from tests.fakes.raw_provider import JSON, RawProvider, raw_provider

STOP = delta(finish="stop")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment of the tests names."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def server() -> AsyncIterator[RawProvider]:
    """A server of which the test reads what it was asked."""
    async with raw_provider() as running:
        yield running


async def test_openai_gets_a_bearer_token(server: RawProvider) -> None:
    """And the id of our call, which it shows in its logs."""
    server.say(msgspec.json.encode(whole()), content_type=JSON)
    provider = OpenAIChat(api_key="sk-key", base_url=f"{server.base}/v1/")
    await complete(provider, CALL)
    await provider.aclose()
    head = server.head.lower().splitlines()
    assert head[0] == "post /v1/chat/completions http/1.1"
    assert {
        "authorization: bearer sk-key",
        "content-type: application/json",
        "accept-encoding: gzip, deflate",
        f"x-headrace-call-id: {CALL.call_id}",
    } <= set(head)
    assert any(line.startswith("user-agent: headrace/") for line in head)


async def test_anthropic_gets_a_key_and_a_version(server: RawProvider) -> None:
    """Both in headers of its own."""
    server.say(msgspec.json.encode(message("Hi")), content_type=JSON)
    provider = AnthropicMessages(api_key="sk-ant-key", base_url=server.base)
    await complete(provider, CALL)
    await provider.aclose()
    head = server.head.lower().splitlines()
    assert head[0] == "post /v1/messages http/1.1"
    assert {"x-api-key: sk-ant-key", "anthropic-version: 2023-06-01"} <= set(head)
    assert not any(line.startswith("authorization:") for line in head)


@asynccontextmanager
async def keeping_alive(*answers: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve the answers in turn on connections that stay open; yield the address and the requests of each."""
    left, requests = list(answers), list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(0)
        number = len(requests) - 1
        while left:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            except asyncio.IncompleteReadError:
                break
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            requests[number] += 1
            writer.write(left.pop(0))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


def sized(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)) + body


async def test_calls_share_a_connection() -> None:
    """After a whole answer, a stream with something behind `[DONE]`, and an error."""
    events = sse(delta("Hi"), STOP, "[DONE]", "[DONE]")
    answers = [sized(msgspec.json.encode(whole())), sized(events), sized(b"{}", "500 Bad"), sized(events)]
    async with keeping_alive(*answers) as (base, requests):
        provider = OpenAIChat(api_key="k", base_url=base)
        assert (await complete(provider, CALL)).text == "Hi there"
        assert [event async for event in streamed(provider, CALL)]
        with pytest.raises(ServerFault):
            await complete(provider, CALL)
        assert (await complete(provider, CALL)).text == "Hi"
        await provider.aclose()
    assert requests == [4]


@pytest.mark.parametrize("status", ["429 Slow", "500 Bad"])
async def test_a_refusal_that_breaks_off_is_one(server: RawProvider, status: str) -> None:
    """Its status is known, so nothing is billed, and its headers count."""
    head = f"HTTP/1.1 {status}\r\nRetry-After: 7\r\nContent-Length: 500\r\n\r\n"
    server.say_raw(head.encode(), b'{"error"')
    provider = OpenAIChat(api_key="k", base_url=server.base)
    with pytest.raises(RateLimited if status.startswith("429") else ServerFault) as caught:
        await complete(provider, CALL)
    await provider.aclose()
    assert (caught.value.retry_after_s, caught.value.billed_usage) == (7, None)


async def test_no_more_than_the_beginning_of_an_error_is_read(server: RawProvider) -> None:
    """Of a body that goes on for ever, too."""
    server.say(*[b"x" * 65_536] * 100, status="500 Bad")
    client = HttpClient(server.base, {})
    with pytest.raises(StatusError) as caught:
        await client.post("/", {}, CALL)
    await client.aclose()
    assert len(caught.value.body) == 256 * 1024


async def test_a_compressed_error_is_read(server: RawProvider) -> None:
    """Its words are told."""
    packed = gzip.compress(b'{"error": {"message": "in a zip"}}')
    server.say(packed, status="500 Bad", headers=["Content-Encoding: gzip"])
    provider = OpenAIChat(api_key="k", base_url=server.base)
    with pytest.raises(ServerFault, match="in a zip"):
        await complete(provider, CALL)
    await provider.aclose()


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://api.openai.com/v1", None),
        ({"https_proxy": "http://p:3128"}, "https://api.openai.com/v1", "http://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "https://api.openai.com/v1", "http://p:3128"),
        ({"http_proxy": "http://p:3128"}, "https://api.openai.com/v1", None),
        ({"ALL_PROXY": "http://u:w@p:3128"}, "https://api.openai.com/v1", "http://u:w@p:3128"),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "*"}, "https://api.openai.com/v1", None),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "a, openai.com"}, "https://api.openai.com/v1", None),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "127.0.0.1"}, "http://127.0.0.1:8001/v1", None),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "10.0.0.1"}, "http://u:w@127.0.0.1:8001/v1", "http://p"),
    ],
)
def test_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    """By scheme, then for all; `NO_PROXY` takes hosts, domains and `*`."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


async def test_a_call_goes_through_the_proxy(server: RawProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the proxy's own user, and the provider's key."""
    server.say(msgspec.json.encode(whole()), content_type=JSON)
    monkeypatch.setenv("http_proxy", server.base.replace("//", "//u:w@"))
    provider = OpenAIChat(api_key="k", base_url="http://provider.invalid/v1")
    assert isinstance(await complete(provider, CALL), Answer)
    await provider.aclose()
    head = server.head.splitlines()
    assert head[0] == "POST http://provider.invalid/v1/chat/completions HTTP/1.1"
    assert {"Authorization: Bearer k", "Proxy-Authorization: Basic dTp3"} <= set(head)


@pytest.mark.parametrize("status", ["407 Who", "502 Bad"])
async def test_a_proxy_that_opens_no_tunnel_is_a_lost_connection(
    server: RawProvider, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """The provider was not reached: nothing is billed."""
    server.say(status=status)
    monkeypatch.setenv("https_proxy", server.base)
    provider = OpenAIChat(api_key="k", base_url="https://provider.invalid/v1")
    with pytest.raises(ConnectionLost) as caught:
        await complete(provider, CALL)
    await provider.aclose()
    assert caught.value.billed_usage is None
    assert server.head.startswith("CONNECT provider.invalid:443")


async def test_a_server_without_tls_costs_nothing(server: RawProvider) -> None:
    """The key and the prompt are not sent before the handshake."""
    server.say_raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    provider = OpenAIChat(api_key="k", base_url=server.base.replace("http:", "https:"))
    call = msgspec.structs.replace(CALL, timeouts=msgspec.structs.replace(CALL.timeouts, connect_s=2))
    with pytest.raises(ProviderFault) as caught:
        await complete(provider, call)
    await provider.aclose()
    assert caught.value.billed_usage is None
    assert server.asked == 0
