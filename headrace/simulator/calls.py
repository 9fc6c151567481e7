"""Serves provider calls: checks, limits, faults, timing, the reply, and the bill for it."""

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec
from starlette.types import Receive, Scope, Send

from headrace.simulator.behaviour import FaultKind, FaultRule
from headrace.simulator.dialects import Dialect, HeaderList, Keys
from headrace.simulator.director import Director
from headrace.simulator.invoice import BilledAs, Invoice
from headrace.simulator.pacing import Pace
from headrace.simulator.received import Received
from headrace.simulator.refusals import Refusal
from headrace.simulator.schema_values import UnsupportedSchema
from headrace.simulator.shapes import Misfit
from headrace.simulator.wire import BodyTooLarge, ClientGone, Exchange
from streams.models import Model, ProviderName

CALL_ID_HEADER = "x-headrace-call-id"
_MAX_CALL_ID_CHARS = 256
_DEFAULT_RETRY_AFTER_S = 1.0


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """What all endpoints share: the models, who may call, the behaviour, the books, and the clock.

    `clock` is monotonic, in seconds; `unix_time` stamps replies.
    """

    seed: int
    models: Mapping[str, Model]
    embedding_prices: Mapping[str, Decimal]
    keys: Keys
    director: Director
    invoice: Invoice
    received: Received
    clock: Callable[[], float]
    unix_time: Callable[[], float]


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What a call costs apart from its output, and who made it."""

    call_id: str
    provider: ProviderName
    model: str
    input_tokens: int
    cached_tokens: int
    stream: bool
    client_request_id: str | None


class Call:
    """One call from its arrival to its end: the parts that chats and embeddings have in common."""

    def __init__(self, provider: Provider, dialect: Dialect, exchange: Exchange) -> None:
        self.provider = provider
        self.dialect = dialect
        self.exchange = exchange
        self.request_id = "req_" + secrets.token_hex(12)
        self.headers: HeaderList = [(dialect.request_id_header, self.request_id)]
        self.client_request_id = exchange.headers.get(CALL_ID_HEADER, "")[:_MAX_CALL_ID_CHARS] or None
        self.started_s = provider.clock()

    async def json_body(self) -> object:
        """Check the caller's key and read the body.

        Raises:
            Refusal: If the key is wrong, or the body not JSON or too large.
            ClientGone: If the client leaves meanwhile.
        """
        self.dialect.authorise(self.exchange.headers, self.provider.keys)
        try:
            data = await self.exchange.body()
            self.provider.received.note(self.client_request_id, data)
            body: object = msgspec.json.decode(data)
        except BodyTooLarge:
            raise Refusal(413, "Request exceeds the maximum size of 32 MB") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.dialect.unreadable(str(error)) from error
        return body

    def admit(self, model: str, tokens: int) -> None:
        """Count the call against the rate limits.

        Raises:
            Refusal: 429, with the time to wait.
        """
        standing = self.provider.director.admit(model, tokens, self.started_s)
        self.headers += self.dialect.limit_headers(standing)
        if standing.wait_s is not None:
            raise self.dialect.limited(standing, math.ceil(standing.wait_s * 1000) / 1000)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error."""
        body = self.dialect.error_body(refusal, self.request_id)
        await self.exchange.answer(refusal.status, body, [*self.headers, *refusal.headers])

    def refusal_of(self, fault: FaultRule) -> Refusal | None:
        """Return the error that a fault answers with, if it is one that does."""
        match fault.kind:
            case FaultKind.RATE_LIMIT:
                seconds = _DEFAULT_RETRY_AFTER_S if fault.retry_after_s is None else fault.retry_after_s
                return self.dialect.limited(None, seconds)
            case FaultKind.SERVER_ERROR:
                message = "The server had an error while processing your request. Sorry about that!"
                return Refusal(500, message, kind="server_error")
            case FaultKind.OVERLOADED:
                wait = fault.retry_after_s
                return self.dialect.overloaded([] if wait is None else [("retry-after", f"{wait:g}")])
            case _:
                return None

    async def hang(self) -> None:
        """Answer nothing until the client leaves."""
        async with self.exchange.departure() as departure:
            await departure.within(None)

    def bill(self, bill: Bill, output_tokens: int, usd: Decimal, status: BilledAs) -> None:
        """Book the call."""
        self.provider.invoice.bill(
            call_id=bill.call_id,
            provider=bill.provider,
            model=bill.model,
            input_tokens=bill.input_tokens,
            output_tokens=output_tokens,
            cached_tokens=bill.cached_tokens,
            usd=usd,
            status=status,
            stream=bill.stream,
            client_request_id=bill.client_request_id,
        )

    async def answer_whole(
        self,
        body: bytes,
        pace: Pace,
        fault: FaultRule | None,
        output_tokens: int,
        book: Callable[[int, BilledAs], None],
    ) -> None:
        """Send a reply that does not stream when it is due, and book it.

        A client that leaves before is billed for what was generated until then.
        """
        if not pace.instant and not await self._patient(pace, output_tokens, book):
            return
        kind = fault.kind if fault else None
        book(output_tokens, BilledAs.DROPPED if kind is FaultKind.DROP else BilledAs.COMPLETED)
        if kind is FaultKind.DROP:
            await self.exchange.cut_short(body, self.headers)
        elif kind is FaultKind.MALFORMED:
            await self.exchange.answer(200, body[: len(body) * 2 // 3], self.headers)
        else:
            await self.exchange.answer(200, body, self.headers)

    async def _patient(self, pace: Pace, tokens: int, book: Callable[[int, BilledAs], None]) -> bool:
        clock = self.provider.clock
        try:
            async with self.exchange.departure() as departure:
                if not await departure.within(pace.due_s(tokens) - (clock() - self.started_s)):
                    return True
        except asyncio.CancelledError:  # the simulator is stopping
            book(pace.generated(clock() - self.started_s, tokens), BilledAs.DROPPED)
            raise
        book(pace.generated(clock() - self.started_s, tokens), BilledAs.CANCELLED)
        return False


class Endpoint:
    """An ASGI application for one kind of call; subclasses serve it."""

    def __init__(self, provider: Provider, dialect: Dialect) -> None:
        self.provider = provider
        self.dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call, or answer why not."""
        call = Call(self.provider, self.dialect, Exchange(scope, receive, send))
        try:
            await self.serve(call)
        except Refusal as refusal:
            await call.refuse(refusal)
        except Misfit as misfit:
            await call.refuse(self.dialect.refuse_misfit(misfit))
        except UnsupportedSchema as unsupported:
            await call.refuse(self.dialect.unsupported_schema(str(unsupported)))
        except RecursionError:
            await call.refuse(self.dialect.unreadable("it is nested too deeply"))
        except ClientGone:
            return

    async def serve(self, call: Call) -> None:
        """Serve a call.

        Raises:
            Refusal: To answer with an error.
            Misfit: If a field is not as documented.
            UnsupportedSchema: If nothing conforms to a JSON Schema of the request.
        """
        raise NotImplementedError
