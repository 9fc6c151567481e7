"""Serves one kind of call: checks, faults, the reply (whole or as a stream), the bill."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from headrace.simulator.behaviour import FaultKind, FaultRule, RawAnswer, RawEnd
from headrace.simulator.chat_task import ChatTask, ModelTask
from headrace.simulator.generate import Generation, generate, output_tokens
from headrace.simulator.invoice import BilledAs, BilledUsage
from headrace.simulator.request_validation import ErrorReply, unreadable_body
from headrace.simulator.schema_values import UnsupportedSchema
from headrace.simulator.simulated_call import (
    ClientDeparture,
    HttpExchange,
    ProviderApi,
    ReplyHead,
    ReplyPlan,
    RequestHeaders,
    SimulatedCall,
    Simulation,
    StreamScript,
)
from streams.model_catalogue import count_text

# Frames that are due at once go out together, so that an instant stream is not a system call a token.
_FRAMES_PER_WRITE = 64


@dataclass(eq=False)
class StreamPlayback:
    """One stream."""

    call: SimulatedCall
    made: Generation
    script: StreamScript
    plan: ReplyPlan
    _sent: int = field(default=0, init=False)
    _tokens_sent: int = field(default=0, init=False)

    async def run(self) -> None:
        """Play the stream to its end, its fault, or the client's leaving."""
        headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
        await self.call.exchange.begin(200, [*headers, *self.call.headers])
        async with self.call.exchange.departure() as departure:
            try:
                has_left = await self._play(departure)
            except asyncio.CancelledError:  # the simulator is stopping
                self._bill_sent(BilledAs.DROPPED)
                raise
        if has_left:
            self._bill_sent(BilledAs.CANCELLED)
        else:
            await self._end()

    async def _play(self, departure: ClientDeparture) -> bool:
        frames = self.script.frames[: self._stops_after()]
        if not frames and await self._wait(departure):
            return True
        is_instant = self.plan.timing.token_s == 0.0
        while self._sent < len(frames):
            if await self._wait(departure):
                return True
            batch = frames[self._sent : self._sent + (_FRAMES_PER_WRITE if is_instant else 1)]
            await self.call.exchange.write(self._opened() + b"".join(frame.data for frame in batch))
            self._sent += len(batch)
            if not is_instant:
                self._tokens_sent += sum(count_text(frame.text) for frame in batch)
        return self.plan.ends_in is FaultKind.HANG and await departure.within(None)

    def _stops_after(self) -> int:
        fault = self.plan.fault
        if fault is None or self.plan.ends_in is None:
            return len(self.script.frames)
        return len(self.script.frames) // 2 if fault.after_chunks is None else fault.after_chunks

    async def _wait(self, departure: ClientDeparture) -> bool:
        if self.plan.timing.instant:
            return departure.happened
        return await departure.within(self.plan.timing.due_s(self._tokens_sent + 1) - self.call.elapsed_s)

    def _opened(self) -> bytes:
        return b"" if self._sent else self.script.opening

    async def _end(self) -> None:
        exchange = self.call.exchange
        match self.plan.ends_in:
            case None:
                self.plan.bill(self.made.output_tokens, BilledAs.COMPLETED)
                await exchange.finish(self._opened() + self.script.closing)
            case FaultKind.MALFORMED:
                self.plan.bill(self.made.output_tokens, BilledAs.COMPLETED)
                await exchange.finish(self._opened() + self.call.api.broken_event)
            case FaultKind.DROP:
                # Returning without the end of the body makes the server close the connection.
                self._bill_sent(BilledAs.DROPPED)
            case _:
                self._bill_sent(BilledAs.DROPPED)
                if self.plan.fault is not None and (error := self.call.fault_reply(self.plan.fault)):
                    await exchange.finish(self._opened() + self.call.api.error_event(error))

    def _bill_sent(self, status: BilledAs) -> None:
        parts = []
        for index, block in enumerate(self.made.blocks):
            texts = [frame.text for frame in self.script.frames[: self._sent] if frame.block == index]
            if texts:
                parts.append(msgspec.structs.replace(block, text="".join(texts)))
        self.plan.bill(output_tokens(parts), status)


TaskT = TypeVar("TaskT", bound=ModelTask)


@dataclass(eq=False)
class Endpoint(Generic[TaskT]):
    """An ASGI application for one kind of call: `read` makes a task of a body, `answer` bills it, too."""

    simulation: Simulation
    api: ProviderApi
    id_prefix: str
    _: KW_ONLY
    read: Callable[[Any, RequestHeaders], TaskT]
    answer: Callable[[SimulatedCall, TaskT, FaultRule | None], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call, or answer why not."""
        exchange = HttpExchange(scope, receive, send)
        call = SimulatedCall(self.simulation, self.api, exchange, self.id_prefix)
        try:
            await self._serve(call)
        except ErrorReply as error:
            await call.answer_error(error)
        except UnsupportedSchema as error:
            message = f"Invalid schema: {error}."
            await call.answer_error(ErrorReply(400, message, param="response_format"))
        except RecursionError:
            await call.answer_error(unreadable_body("it is nested too deeply"))
        except ClientDisconnect:
            return

    async def _serve(self, call: SimulatedCall) -> None:
        task = self.read(await call.json_body(), call.exchange.headers)
        director, named = self.simulation.director, (self.api.provider, task.model, task.prompt)
        raw = director.raw_answer(*named)
        if raw is not None:
            await _play_raw_answer(call, task, raw)
            return
        fault = director.fault(*named)
        if fault is not None and (fault.after_chunks is None or not task.stream):
            if error := call.fault_reply(fault):
                raise error
            if fault.kind is FaultKind.HANG:
                async with call.exchange.departure() as departure:
                    await departure.within(None)
                return
        await self.answer(call, task, fault)


async def _play_raw_answer(call: SimulatedCall, task: ModelTask, raw: RawAnswer) -> None:
    """Send exactly the bytes that the operator has set; bill it first where it has a bill."""
    if raw.bill is not None:
        call.bill(task, raw.bill, BilledAs.COMPLETED if raw.end is RawEnd.CLEAN else BilledAs.DROPPED)
    exchange = call.exchange
    await exchange.begin(raw.status, raw.headers.items())
    for chunk in raw.chunks:
        await exchange.write(chunk.data)
    if raw.end is RawEnd.CLEAN:
        await exchange.finish(b"")
    # Otherwise the body has no end, and the server closes the connection.


async def answer_whole(call: SimulatedCall, body: bytes, tokens: int, plan: ReplyPlan) -> None:
    """Send a reply when it is due, and bill it: to a client that left, what was generated until then."""
    timing = plan.timing
    if not timing.instant:
        try:
            async with call.exchange.departure() as departure:
                has_left = await departure.within(timing.due_s(tokens) - call.elapsed_s)
        except asyncio.CancelledError:  # the simulator is stopping
            plan.bill(timing.generated(call.elapsed_s, tokens), BilledAs.DROPPED)
            raise
        if has_left:
            plan.bill(timing.generated(call.elapsed_s, tokens), BilledAs.CANCELLED)
            return
    drops = plan.ends_in is FaultKind.DROP
    plan.bill(tokens, BilledAs.DROPPED if drops else BilledAs.COMPLETED)
    if plan.ends_in not in (None, FaultKind.DROP):
        body = body[: len(body) * 2 // 3]
    await call.exchange.answer(200, body, call.headers, half=drops)


def chat_endpoint(simulation: Simulation, api: ProviderApi) -> Endpoint[ChatTask]:
    """Return `POST …/chat/completions` or `POST …/messages`, by the API."""
    return Endpoint(simulation, api, api.id_prefix, read=api.read_chat, answer=_answer_chat)


async def _answer_chat(call: SimulatedCall, task: ChatTask, fault: FaultRule | None) -> None:
    director, api = call.simulation.director, call.api
    rule = director.answer(api.provider, task.model, task.prompt)
    made = generate(task, rule, call.simulation.seed)
    cached_tokens = director.cached_tokens(task.input_tokens)
    head = ReplyHead(call_id=call.call_id, created=int(time.time()), cached_tokens=cached_tokens)

    def bill(output_tokens: int, status: BilledAs) -> None:
        usage = BilledUsage(
            input_tokens=task.input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
        )
        call.bill(task, usage, status)

    plan = ReplyPlan(timing=director.timing(fault), fault=fault, bill=bill)
    if task.stream:
        script = api.stream_script(task, made, head, rule.chunk_chars if rule else None)
        await StreamPlayback(call, made, script, plan).run()
    else:
        await answer_whole(call, api.whole_reply(task, made, head), made.output_tokens, plan)
