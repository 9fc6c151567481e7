"""Sends the frames of a stream when they are due, up to its fault, and bills it once."""

import asyncio

import msgspec

from headrace.simulator.behaviour import FaultKind
from headrace.simulator.generation.generate import Generation, output_tokens
from headrace.simulator.http_exchange import ClientDeparture
from headrace.simulator.invoice import BilledAs
from headrace.simulator.provider_api import StreamScript
from headrace.simulator.simulated_call import ReplyPlan, SimulatedCall
from streams.tokens import count_text

# Frames that are due at once go out together, so that an instant stream is not a system call a token.
_FRAMES_PER_WRITE = 64


class StreamPlayback:
    """One stream."""

    def __init__(self, call: SimulatedCall, made: Generation, script: StreamScript, plan: ReplyPlan) -> None:
        self._call = call
        self._made = made
        self._frames = script.frames
        self._opening = script.opening
        self._closing = script.closing
        self._plan = plan
        self._sent = 0
        self._tokens_sent = 0

    async def run(self) -> None:
        """Play the stream to its end, its fault, or the client's leaving."""
        await self._call.exchange.open_stream(self._call.headers)
        async with self._call.exchange.departure() as departure:
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
        """Send the frames before the fault; tell whether the client left meanwhile."""
        frames = self._frames[: self._stops_after()]
        if not frames and await self._wait(departure):
            return True
        is_instant = self._plan.timing.token_s == 0.0
        while self._sent < len(frames):
            if await self._wait(departure):
                return True
            batch = frames[self._sent : self._sent + (_FRAMES_PER_WRITE if is_instant else 1)]
            await self._call.exchange.write(self._opened() + b"".join(frame.data for frame in batch))
            self._sent += len(batch)
            if not is_instant:
                self._tokens_sent += sum(count_text(frame.text) for frame in batch)
        return self._plan.ends_in is FaultKind.HANG and await departure.within(None)

    def _stops_after(self) -> int:
        fault = self._plan.fault
        if fault is None or self._plan.ends_in is None:
            return len(self._frames)
        return len(self._frames) // 2 if fault.after_chunks is None else fault.after_chunks

    async def _wait(self, departure: ClientDeparture) -> bool:
        if self._plan.timing.instant:
            return departure.happened
        return await departure.within(self._plan.timing.due_s(self._tokens_sent + 1) - self._call.elapsed_s)

    def _opened(self) -> bytes:
        opening, self._opening = self._opening, b""
        return opening

    async def _end(self) -> None:
        exchange = self._call.exchange
        match self._plan.ends_in:
            case None:
                self._plan.bill(self._made.output_tokens, BilledAs.COMPLETED)
                await exchange.finish(self._opened() + self._closing)
            case FaultKind.MALFORMED:
                self._plan.bill(self._made.output_tokens, BilledAs.COMPLETED)
                await exchange.finish(self._opened() + self._call.api.broken_event)
            case FaultKind.DROP:
                # Returning without the end of the body makes the server close the connection.
                self._bill_sent(BilledAs.DROPPED)
            case _:
                self._bill_sent(BilledAs.DROPPED)
                if self._plan.fault is not None and (error := self._call.fault_reply(self._plan.fault)):
                    await exchange.finish(self._opened() + self._call.api.error_event(error))

    def _bill_sent(self, status: BilledAs) -> None:
        parts = []
        for index, block in enumerate(self._made.blocks):
            texts = [frame.text for frame in self._frames[: self._sent] if frame.block == index]
            if texts:
                parts.append(msgspec.structs.replace(block, text="".join(texts)))
        self._plan.bill(output_tokens(parts), status)
