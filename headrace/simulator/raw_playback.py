"""Plays a raw answer: exactly the bytes that the operator has set."""

from headrace.simulator.behaviour.rules import RawAnswer, RawEnd
from headrace.simulator.billing.invoice_items import BilledAs
from headrace.simulator.provider_api import ModelTask
from headrace.simulator.simulated_call import SimulatedCall


async def play_raw_answer(call: SimulatedCall, task: ModelTask, raw: RawAnswer) -> None:
    """Send the answer, and bill it first where it has a bill."""
    if raw.bill is not None:
        call.bill(task, raw.bill, BilledAs.COMPLETED if raw.end is RawEnd.CLEAN else BilledAs.DROPPED)
    exchange = call.exchange
    await exchange.begin(raw.status, raw.headers.items())
    for chunk in raw.chunks:
        await exchange.write(chunk.data)
    if raw.end is RawEnd.CLEAN:
        await exchange.finish(b"")
    # Otherwise the body has no end, and the server closes the connection.
