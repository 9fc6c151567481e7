"""Serves chat calls of either API, whole and streamed."""

import asyncio
import secrets
from collections.abc import Callable

from headrace.simulator.asking import Ask
from headrace.simulator.behaviour import FaultKind, FaultRule, RawAnswer, RawBill
from headrace.simulator.calls import Bill, Call, Endpoint
from headrace.simulator.charges import charge_usd
from headrace.simulator.generation import Generation, generate, output_tokens
from headrace.simulator.invoice import BilledAs
from headrace.simulator.pacing import Pace
from headrace.simulator.raw_answers import play
from headrace.simulator.scripts import Envelope, Frame, StreamScript, partial
from headrace.simulator.wire import Departure
from streams.tokens import count_text

# Frames that are due at once go out together, so that an instant stream is not a system call a token.
_FRAMES_PER_WRITE = 64

_Book = Callable[[int, BilledAs], None]


class Chats(Endpoint):
    """`POST …/chat/completions` or `POST …/messages`, by the dialect."""

    async def serve(self, call: Call) -> None:
        """Serve one chat call."""
        ask = self.dialect.read(await call.json_body(), call.exchange.headers, self.provider.models)
        director, model = self.provider.director, ask.model.name
        call.admit(model, ask.input_tokens)
        raw = director.raw_answer(ask.provider, model, ask.prompt)
        if raw is not None:
            await _play_raw(call, ask, raw)
            return
        fault = director.fault(ask.provider, model, ask.prompt)
        if fault is not None and (fault.after_chunks is None or not ask.stream):
            refusal = call.refusal_of(fault)
            if refusal is not None:
                raise refusal
            if fault.kind is FaultKind.HANG:
                await call.hang()
                return
        rule = director.answer(ask.provider, model, ask.prompt)
        made = generate(ask, rule, self.provider.seed)
        envelope = Envelope(
            call_id=self.dialect.id_prefix + secrets.token_hex(14),
            created=int(self.provider.unix_time()),
            cached_tokens=director.cached_tokens(ask.input_tokens),
        )
        book = _bookkeeper(call, ask, envelope)
        pace = director.pace(fault)
        if ask.stream:
            script = self.dialect.script(ask, made, envelope, rule.chunk_chars if rule else None)
            await _Playback(call=call, made=made, script=script, pace=pace, fault=fault, book=book).run()
        else:
            body = self.dialect.reply(ask, made, envelope)
            await call.answer_whole(body, pace, fault, made.output_tokens, book)


async def _play_raw(call: Call, ask: Ask, raw: RawAnswer) -> None:
    billed = raw.bill or RawBill()
    bill = Bill(
        call_id=call.dialect.id_prefix + secrets.token_hex(14),
        provider=ask.provider,
        model=ask.model.name,
        input_tokens=billed.input_tokens,
        cached_tokens=billed.cached_tokens,
        stream=ask.stream,
        client_request_id=call.client_request_id,
        cache_write_tokens=billed.cache_write_tokens,
        cache_write_1h_tokens=billed.cache_write_1h_tokens,
        reasoning_tokens=billed.reasoning_tokens,
        service_tier=billed.service_tier,
    )
    await play(call, raw, bill, charge_usd(ask.model, bill, billed.output_tokens))


def _bookkeeper(call: Call, ask: Ask, envelope: Envelope) -> _Book:
    bill = Bill(
        call_id=envelope.call_id,
        provider=ask.provider,
        model=ask.model.name,
        input_tokens=ask.input_tokens,
        cached_tokens=envelope.cached_tokens,
        stream=ask.stream,
        client_request_id=call.client_request_id,
    )

    def book(tokens: int, status: BilledAs) -> None:
        call.bill(bill, tokens, charge_usd(ask.model, bill, tokens), status)

    return book


class _Playback:
    """Sends the frames of one stream when they are due, up to its fault, and books it once."""

    def __init__(
        self,
        *,
        call: Call,
        made: Generation,
        script: StreamScript,
        pace: Pace,
        fault: FaultRule | None,
        book: _Book,
    ) -> None:
        self._call = call
        self._made = made
        self._script = script
        self._pace = pace
        self._fault = fault
        self._book = book
        self._sent = 0
        self._tokens_sent = 0
        self._begun = False

    async def run(self) -> None:
        """Play the stream to its end, its fault, or the client's leaving."""
        await self._call.exchange.open_stream(self._call.headers)
        async with self._call.exchange.departure() as departure:
            try:
                left = await self._play(departure)
            except asyncio.CancelledError:  # the simulator is stopping
                self._settle(BilledAs.DROPPED)
                raise
            if left:
                self._settle(BilledAs.CANCELLED)
            else:
                await self._end(departure)

    async def _play(self, departure: Departure) -> bool:
        """Send the frames before the fault; tell whether the client left meanwhile."""
        frames = self._script.frames[: self._stops_after()]
        if not frames:
            return await self._wait(departure)
        while self._sent < len(frames):
            if await self._wait(departure):
                return True
            batch = frames[self._sent : self._sent + (_FRAMES_PER_WRITE if self._rushing() else 1)]
            await self._write(b"".join(frame.data for frame in batch))
            self._sent += len(batch)
            self._count(batch)
        return False

    async def _wait(self, departure: Departure) -> bool:
        if self._pace.instant:
            return departure.happened
        elapsed_s = self._call.provider.clock() - self._call.started_s
        return await departure.within(self._pace.due_s(self._tokens_sent + 1) - elapsed_s)

    def _rushing(self) -> bool:
        return self._pace.token_s == 0.0

    def _count(self, batch: tuple[Frame, ...]) -> None:
        if not self._rushing():
            self._tokens_sent += sum(count_text(frame.text) for frame in batch)

    async def _write(self, data: bytes) -> None:
        opening = b"" if self._begun else self._script.opening
        self._begun = True
        await self._call.exchange.write(opening + data)

    def _stops_after(self) -> int:
        fault = self._fault
        if fault is None or fault.kind is FaultKind.SLOW:
            return len(self._script.frames)
        if fault.after_chunks is None:
            return len(self._script.frames) // 2
        return fault.after_chunks

    async def _end(self, departure: Departure) -> None:
        exchange, kind = self._call.exchange, self._fault.kind if self._fault else None
        match kind:
            case None | FaultKind.SLOW:
                self._book(self._made.output_tokens, BilledAs.COMPLETED)
                await exchange.finish((b"" if self._begun else self._script.opening) + self._script.closing)
            case FaultKind.MALFORMED:
                self._book(self._made.output_tokens, BilledAs.COMPLETED)
                await self._write(self._call.dialect.broken_frame())
                await exchange.finish(b"")
            case FaultKind.HANG:
                await self._hang(departure)
            case FaultKind.DROP:
                # Returning without the end of the body makes the server close the connection.
                self._settle(BilledAs.DROPPED)
            case _:
                self._settle(BilledAs.DROPPED)
                await self._break_off()

    async def _hang(self, departure: Departure) -> None:
        try:
            await departure.within(None)
        except asyncio.CancelledError:  # the simulator is stopping
            self._settle(BilledAs.DROPPED)
            raise
        self._settle(BilledAs.CANCELLED)

    async def _break_off(self) -> None:
        refusal = self._call.refusal_of(self._fault) if self._fault else None
        if refusal is not None:
            await self._write(self._call.dialect.error_frame(refusal))
        await self._call.exchange.finish(b"")

    def _settle(self, status: BilledAs) -> None:
        sent = partial(self._made.blocks, self._script.frames[: self._sent])
        self._book(output_tokens(sent), status)
