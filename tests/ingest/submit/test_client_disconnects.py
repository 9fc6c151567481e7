"""Clients that leave before their answer is there."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from ingest.main import create_app
from ingest.submit.submission import ClientDisconnects, PreparedRequest
from streams.events import ChatRequested, Delta
from streams.registry.registry import CancelAnswer
from streams.serving.api_keys import Caller
from tests.ingest.fakes import KEY, MODEL, Entry, Rig, answered, rig

CHAT = (
    "/v1/chat",
    '{"user_id": "ada", "query": "capital of France?"%s}',
)
COMPLETIONS = (
    "/v1/chat/completions",
    '{"messages": [{"role": "user", "content": "capital of France?"}]%s}',
)
STREAM = ', "stream": true'


class Client:
    """A client of the application itself that can leave; uvicorn says so again and again."""

    def __init__(
        self, wired: Rig, path: str, body: str, headers: dict[str, str], method: str = "POST"
    ) -> None:
        self._messages = [{"type": "http.request", "body": body.encode(), "more_body": False}]
        self._left = asyncio.Event()
        self.received: list[dict[str, Any]] = []
        given = {"x-api-key": KEY} | headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "query_string": b"",
        }
        app = create_app(wired.services)
        self.task = asyncio.create_task(app(scope, self._receive, self._send))  # type: ignore[arg-type]

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.received.append(message)

    async def leave(self) -> None:
        self._left.set()
        await self.task


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what other tasks bring about."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def asked(wired: Rig, route: tuple[str, str], more: str = "", **headers: str) -> Client:
    """A client whose request was published, and who waits."""
    path, body = route
    client = Client(
        wired, path, body % more, {key.replace("_", "-"): value for key, value in headers.items()}
    )
    await until(lambda: wired.pipeline.sent)
    await until(lambda: wired.services.hub.in_flight)
    return client


def cancelled(wired: Rig) -> str | None:
    (entry,) = wired.registry.entries.values()
    return entry.cancelled


@pytest.mark.parametrize("stream", ["", STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("route", [CHAT, COMPLETIONS], ids=["chat", "completions"])
async def test_who_leaves_before_the_first_word_cancels_where_it_said_so(
    wired: Rig, route: tuple[str, str], stream: str
) -> None:
    """By header, on every route that waits, before the first word is there."""
    client = await asked(wired, route, stream, x_headrace_on_disconnect="cancel")
    await client.leave()
    await wired.services.disconnects.close()
    assert cancelled(wired) == "client_disconnected"
    assert wired.services.hub.in_flight == 0
    assert client.received[0]["status"] == 499


@pytest.mark.parametrize("route", [CHAT, COMPLETIONS], ids=["chat", "completions"])
async def test_who_leaves_within_the_stream_cancels_too(wired: Rig, route: tuple[str, str]) -> None:
    """Part of the answer was sent."""
    client = await asked(wired, route, STREAM, x_headrace_on_disconnect="cancel")
    delta = Delta(request_id=wired.pipeline.sent[0].key, attempt=1, seq=0, text="Paris")
    wired.services.hub.on_delta(delta)
    await until(lambda: b"Paris" in b"".join(part.get("body", b"") for part in client.received))
    await client.leave()
    await wired.services.disconnects.close()
    assert cancelled(wired) == "client_disconnected"


@pytest.mark.parametrize("stream", ["", STREAM], ids=["whole", "stream"])
async def test_by_default_the_request_goes_on(wired: Rig, stream: str) -> None:
    """Its answer can be fetched."""
    client = await asked(wired, CHAT, stream)
    await client.leave()
    await wired.services.disconnects.close()
    assert cancelled(wired) is None
    assert wired.pipeline.sent[0].request.on_disconnect == "continue"


@pytest.mark.parametrize(
    ("default", "body", "header", "cancels"),
    [
        ("cancel", "", {}, True),
        ("cancel", ', "on_disconnect": "continue"', {}, False),
        ("cancel", "", {"x_headrace_on_disconnect": "continue"}, False),
        ("continue", ', "on_disconnect": "cancel"', {}, True),
        ("continue", ', "on_disconnect": "cancel"', {"x_headrace_on_disconnect": "continue"}, True),
    ],
)
async def test_the_body_goes_before_the_header_and_the_header_before_the_setting(
    default: str, body: str, header: dict[str, str], cancels: bool
) -> None:
    """The record carries what was decided."""
    wired = rig(on_disconnect=default)
    client = await asked(wired, CHAT, body, **header)
    await client.leave()
    await wired.services.disconnects.close()
    assert (cancelled(wired) is not None) == cancels
    assert wired.pipeline.sent[0].request.on_disconnect == ("cancel" if cancels else "continue")


async def test_who_leaves_with_the_answer_in_hand_cancels_nothing(wired: Rig) -> None:
    """The reply was there; the client did not read it to its end."""
    client = await asked(wired, CHAT, STREAM, x_headrace_on_disconnect="cancel")
    sent = wired.pipeline.sent[0]
    wired.services.hub.on_reply(answered(sent.key), sent.correlation_id)
    await client.leave()
    await wired.services.disconnects.close()
    assert cancelled(wired) is None


async def test_a_request_that_others_wait_for_goes_on(wired: Rig) -> None:
    """The same request was sent twice, and one of the two has left."""
    client = await asked(wired, CHAT, x_headrace_on_disconnect="cancel")
    next(iter(wired.registry.entries.values())).others = 1
    await client.leave()
    await wired.services.disconnects.close()
    assert cancelled(wired) is None


async def test_who_only_follows_never_cancels() -> None:
    """Neither by its leaving nor by the installation's setting."""
    wired = rig(on_disconnect="cancel")
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    client = Client(wired, "/v1/requests/r-1/events", "", {}, method="GET")
    await until(lambda: wired.services.hub.in_flight)
    await client.leave()
    await wired.services.disconnects.close()
    assert client.received[0]["status"] == 200
    assert wired.registry.entries["r-1"].cancelled is None


async def test_a_process_that_stops_is_no_client_that_leaves(wired: Rig) -> None:
    """Uvicorn cancels what does not end in time: the request goes on, and so does its call."""
    client = await asked(wired, CHAT, STREAM, x_headrace_on_disconnect="cancel")
    client.task.cancel()
    await asyncio.wait([client.task])
    await wired.services.disconnects.close()
    assert cancelled(wired) is None
    assert wired.services.hub.in_flight == 0


async def test_a_wrong_header_is_refused(wired: Rig) -> None:
    """400, before anything is registered."""
    client = Client(wired, CHAT[0], CHAT[1] % "", {"x-headrace-on-disconnect": "maybe"})
    await client.task
    assert client.received[0]["status"] == 400
    assert not wired.registry.entries


def ask() -> PreparedRequest:
    return PreparedRequest(
        request=ChatRequested(user_id="ada", query="q", model=MODEL),
        caller=Caller(tenant="acme", tier="standard"),
        request_id="r-1",
        deadline_ms=1000,
        traceparent="",
        on_disconnect="cancel",
    )


async def test_without_redis_it_is_logged_and_nothing_else(wired: Rig) -> None:
    """The answer is produced for nobody, and booked."""
    wired.registry.broken = True
    with capture_logs() as logs:
        wired.services.disconnects.client_left(ask())
        await wired.services.disconnects.close()
    assert [line["event"] for line in logs] == ["client_disconnect.not_cancelled"]


async def test_a_redis_that_hangs_holds_nothing_up() -> None:
    """Each cancellation has its time limit, and so has the end of the process."""

    class Hanging:
        async def cancel(self, *_: object, **__: object) -> CancelAnswer:
            await asyncio.Event().wait()
            raise AssertionError

    disconnects = ClientDisconnects(Hanging(), timeout_s=0.01)  # type: ignore[arg-type]
    with capture_logs() as logs:
        disconnects.client_left(ask())
        await disconnects.close()
        await until(lambda: logs)
    assert [line["event"] for line in logs] == ["client_disconnect.not_cancelled"]


@pytest.mark.parametrize("comes_back", [False, True])
async def test_an_sdk_may_come_back(wired: Rig, comes_back: bool) -> None:
    """What it repeats by itself goes on; what it does not is cancelled all the same."""
    disconnects = ClientDisconnects(wired.registry, timeout_s=30, retry_grace_s=0.05)
    entry = wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    with capture_logs() as logs:
        disconnects.client_left(ask(), may_come_back=True)
        entry.others = int(comes_back)
        await until(lambda: logs)
    assert entry.cancelled == (None if comes_back else "client_disconnected")
