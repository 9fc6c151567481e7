"""One call from its arrival to its end: the HTTP exchange, key, body, errors, and the bill for it.

`ProviderApi` has what tells the two chat APIs apart, so that serving a call is one path.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from headrace.simulator.behaviour import Director, FaultKind, FaultRule, TokenTiming
from headrace.simulator.chat_task import ChatTask, ModelTask
from headrace.simulator.generate import ChunkChars, Generation
from headrace.simulator.invoice import BilledAs, BilledUsage, Invoice, InvoiceItem
from headrace.simulator.request_validation import ErrorReply, unreadable_body
from streams.model_catalogue import ProviderProtocol
from streams.tasks import cancel_and_wait, until_disconnect

RequestHeaders = Mapping[str, str]


class ReplyHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says besides its content: its id, when it was made (Unix seconds), the cached input."""

    call_id: str
    created: int
    cached_tokens: int


class StreamFrame(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a stream: its bytes and the part of the output in them, by block."""

    data: bytes
    block: int
    text: str


class StreamScript(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one stream: what opens it, its chunks, and what ends it."""

    opening: bytes
    frames: tuple[StreamFrame, ...]
    closing: bytes


class ProviderApi(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's API."""

    provider: ProviderProtocol
    request_id_header: str
    id_prefix: str
    overloaded_status: int
    api_key: Callable[[RequestHeaders], str]
    read_chat: Callable[[Any, RequestHeaders], ChatTask]
    whole_reply: Callable[[ChatTask, Generation, ReplyHead], bytes]
    stream_script: Callable[[ChatTask, Generation, ReplyHead, ChunkChars], StreamScript]
    error_body: Callable[[ErrorReply, str], bytes]
    error_event: Callable[[ErrorReply], bytes]
    broken_event: bytes


def bearer_token(headers: RequestHeaders) -> str:
    """Return the token of `Authorization: Bearer TOKEN`, or an empty string."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


MAX_BODY_BYTES = 32 * 1024 * 1024

ReplyHeaders = Iterable[tuple[str, str]]


class ClientDeparture:
    """Tells whether the client has closed the connection."""

    def __init__(self, left: asyncio.Future[None]) -> None:
        self._left = left

    @property
    def happened(self) -> bool:
        """Whether the client is gone."""
        return self._left.done()

    async def within(self, seconds: float | None) -> bool:
        """Wait for `seconds` (or for ever), or until the client is gone; tell whether it is."""
        if seconds is None or seconds > 0:
            await asyncio.wait((self._left,), timeout=seconds)
        return self.happened


class HttpExchange:
    """A request and the one response to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    async def body(self) -> bytes:
        """Read the request body. Raises `ErrorReply` or `ClientDisconnect`."""
        body = bytearray()
        async for chunk in Request(self._scope, self._receive).stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ErrorReply(413, "Request exceeds the maximum size of 32 MB")
        return bytes(body)

    async def answer(self, status: int, body: bytes, headers: ReplyHeaders, *, half: bool = False) -> None:
        """Send a JSON response; of half of one, the server closes the connection when the call returns."""
        own = [("content-type", "application/json"), ("content-length", str(len(body)))]
        await self.begin(status, [*own, *headers])
        await (self.write(body[: len(body) // 2]) if half else self.finish(body))

    async def begin(self, status: int, headers: ReplyHeaders) -> None:
        """Begin a response with these headers and no other."""
        named = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    @asynccontextmanager
    async def departure(self) -> AsyncIterator[ClientDeparture]:
        """Watch for the client's leaving; only after the body is read."""
        left = asyncio.ensure_future(until_disconnect(self._receive))
        try:
            yield ClientDeparture(left)
        finally:
            await cancel_and_wait(left)


CALL_ID_HEADER = "x-headrace-call-id"
_MAX_CALL_ID_CHARS = 256
_DEFAULT_RETRY_AFTER_S = 1.0
_MAX_RECEIVED_CALLS = 256
_MAX_RECEIVED_BYTES = 64 * 1024


class ReceivedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call: its header `X-Headrace-Call-Id`, and the first 64 KiB of its body."""

    client_request_id: str | None
    body: str


class ReplyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a reply is sent. `bill` puts the call on the invoice, once: its output tokens, and how it ended."""

    timing: TokenTiming
    fault: FaultRule | None
    bill: Callable[[int, BilledAs], None]

    @property
    def ends_in(self) -> FaultKind | None:
        """The fault that the reply ends in, or None where it is whole."""
        return None if self.fault is None or self.fault.kind is FaultKind.SLOW else self.fault.kind


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What all calls share; `received` are the latest 256 calls whose key was right."""

    seed: int
    director: Director
    invoice: Invoice
    received: deque[ReceivedCall] = msgspec.field(default_factory=lambda: deque(maxlen=_MAX_RECEIVED_CALLS))


class SimulatedCall:
    """A call to one of the endpoints. Its `call_id` is on the invoice; every answer carries its `headers`."""

    def __init__(self, simulation: Simulation, api: ProviderApi, exchange: HttpExchange, prefix: str) -> None:
        self.simulation = simulation
        self.api = api
        self.exchange = exchange
        self.call_id = prefix + secrets.token_hex(14)
        self._request_id = "req_" + secrets.token_hex(12)
        self._client_request_id = exchange.headers.get(CALL_ID_HEADER, "")[:_MAX_CALL_ID_CHARS] or None
        self._started_s = time.monotonic()
        self.headers = [(api.request_id_header, self._request_id)]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call arrived."""
        return time.monotonic() - self._started_s

    async def json_body(self) -> Any:
        """Check the caller's key and read the body. Raises `ErrorReply` or `ClientDisconnect`."""
        key = self.api.api_key(self.exchange.headers)
        if not key:
            raise ErrorReply(401, "You did not provide an API key.")
        if not key.startswith("sk-"):
            raise ErrorReply(401, "The API key is incorrect: it begins with `sk-`.", code="invalid_api_key")
        try:
            data = await self.exchange.body()
            text = data[:_MAX_RECEIVED_BYTES].decode("utf-8", "replace")
            self.simulation.received.append(
                ReceivedCall(client_request_id=self._client_request_id, body=text)
            )
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable_body(str(error)) from error

    def fault_reply(self, fault: FaultRule) -> ErrorReply | None:
        """Return the error that a fault answers with, if it is one that does."""
        wait_s = fault.retry_after_s
        if wait_s is None and fault.kind is FaultKind.RATE_LIMIT:
            wait_s = _DEFAULT_RETRY_AFTER_S
        headers = [] if wait_s is None else [("retry-after", f"{wait_s:g}")]
        match fault.kind:
            case FaultKind.RATE_LIMIT:
                message = "Rate limit reached on requests per minute."
                return ErrorReply(429, message, kind="requests", code="rate_limit_exceeded", headers=headers)
            case FaultKind.SERVER_ERROR:
                return ErrorReply(500, "The server had an error.", kind="server_error")
            case FaultKind.OVERLOADED:
                status = self.api.overloaded_status
                return ErrorReply(status, "Overloaded", kind="service_unavailable_error", headers=headers)
        return None

    async def answer_error(self, error: ErrorReply) -> None:
        """Answer with an error."""
        body = self.api.error_body(error, self._request_id)
        await self.exchange.answer(error.status, body, [*self.headers, *error.headers])

    def bill(self, task: ModelTask, usage: BilledUsage, status: BilledAs) -> None:
        """Put the call on the invoice."""
        item = InvoiceItem(
            **msgspec.structs.asdict(usage),
            call_id=self.call_id,
            provider=self.api.provider,
            model=task.model,
            at=datetime.now(UTC),
            usd=f"{task.charge_usd(usage):.9f}",
            status=status,
            stream=task.stream,
            client_request_id=self._client_request_id,
        )
        self.simulation.invoice.add(item)
