"""Serves one kind of call: checks, faults, and replies that do not stream."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from headrace.simulator.behaviour.latency import TokenTiming
from headrace.simulator.behaviour.rules import FaultKind, FaultRule, RawAnswer, RawEnd
from headrace.simulator.billing.invoice_items import BilledAs
from headrace.simulator.error_reply import ErrorReply, unreadable_body
from headrace.simulator.generation.chat_task import ModelTask
from headrace.simulator.generation.schema_values import UnsupportedSchema
from headrace.simulator.http_exchange import ClientGone, HttpExchange
from headrace.simulator.provider_api import ProviderApi, RequestHeaders
from headrace.simulator.simulated_call import SimulatedCall, Simulation

TaskT = TypeVar("TaskT", bound=ModelTask)


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


class Endpoint(Generic[TaskT]):
    """An ASGI application for one kind of call.

    `read` turns a decoded body and the headers into a task, or raises `ErrorReply`. `answer` answers a call
    and bills it, or raises `UnsupportedSchema`.
    """

    def __init__(
        self,
        simulation: Simulation,
        api: ProviderApi,
        id_prefix: str,
        *,
        read: Callable[[Any, RequestHeaders], TaskT],
        answer: Callable[[SimulatedCall, TaskT, FaultRule | None], Awaitable[None]],
    ) -> None:
        self._simulation = simulation
        self._api = api
        self._id_prefix = id_prefix
        self._read = read
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call, or answer why not."""
        exchange = HttpExchange(scope, receive, send)
        call = SimulatedCall(self._simulation, self._api, exchange, self._id_prefix)
        try:
            await self._serve(call)
        except ErrorReply as error:
            await call.answer_error(error)
        except UnsupportedSchema as error:
            message = f"Invalid schema: {error}."
            await call.answer_error(ErrorReply(400, message, param="response_format"))
        except RecursionError:
            await call.answer_error(unreadable_body("it is nested too deeply"))
        except ClientGone:
            return

    async def _serve(self, call: SimulatedCall) -> None:
        task = self._read(await call.json_body(), call.exchange.headers)
        director, named = self._simulation.director, (self._api.provider, task.model, task.prompt)
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
        await self._answer(call, task, fault)


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
    """Send a reply that does not stream when it is due, and bill it.

    A client that leaves before is billed for what was generated until then.
    """
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
    if drops:
        await call.exchange.cut_short(body, call.headers)
    else:
        whole = len(body) if plan.ends_in is None else len(body) * 2 // 3
        await call.exchange.answer(200, body[:whole], call.headers)
