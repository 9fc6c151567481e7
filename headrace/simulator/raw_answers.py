"""Plays a raw answer: exactly the bytes that the operator has set."""

from decimal import Decimal

from headrace.simulator.behaviour import RawAnswer, RawEnd
from headrace.simulator.calls import Bill, Call
from headrace.simulator.invoice import BilledAs

_MS_PER_S = 1000.0
# A reset overtakes what the kernel has not sent yet.
_BEFORE_RESET_S = 0.05


async def play(call: Call, raw: RawAnswer, bill: Bill, usd: Decimal) -> None:
    """Send the answer, and book it first where it has a bill.

    Args:
        call: The call that it answers.
        raw: The answer.
        bill: Who made the call, and its input.
        usd: What it costs.
    """
    if raw.bill is not None:
        status = BilledAs.COMPLETED if raw.end is RawEnd.CLEAN else BilledAs.DROPPED
        call.bill(bill, raw.bill.output_tokens, usd, status)
    exchange = call.exchange
    await exchange.open_raw(raw.status, raw.headers.items())
    async with exchange.departure() as departure:
        for chunk in raw.chunks:
            if await departure.within(chunk.pause_ms / _MS_PER_S):
                return
            await exchange.write(chunk.data)
        match raw.end:
            case RawEnd.CLEAN:
                await exchange.finish(b"")
            case RawEnd.CUT:
                return  # without the end of the body: the server then closes the connection
            case RawEnd.RESET:
                await departure.within(_BEFORE_RESET_S)
                exchange.reset()
