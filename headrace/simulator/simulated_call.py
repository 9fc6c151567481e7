"""One call from its arrival to its end: key, body, errors, and the bill for it."""

import secrets
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.simulator.behaviour import FaultKind, FaultRule, TokenTiming
from headrace.simulator.charges import BilledUsage
from headrace.simulator.director import Director
from headrace.simulator.error_reply import ErrorReply, unreadable_body
from headrace.simulator.generation.chat_task import ModelTask
from headrace.simulator.http_exchange import HttpExchange
from headrace.simulator.invoice import BilledAs, Invoice, InvoiceItem
from headrace.simulator.provider_api import ProviderApi

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
    """How a reply is sent.

    `bill` puts the call on the invoice, once: its output tokens, and how it ended.
    """

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
    """A call to one of the endpoints.

    Its `call_id` is on the invoice; every answer carries its `headers`.
    """

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
        """Check the caller's key and read the body.

        Raises:
            ErrorReply: If the key is wrong, or the body not JSON or too large.
            ClientDisconnect: If the client leaves meanwhile.
        """
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
