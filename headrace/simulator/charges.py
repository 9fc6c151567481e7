"""What a chat call costs, line by line as a provider's bill has it.

It shares the price table with those who pay, and none of their arithmetic: whoever compares a bill with the
books has two computations to compare.
"""

from decimal import Decimal

from headrace.simulator.calls import Bill
from streams.models import Model

_MILLION = 1_000_000
_NANO_USD = Decimal("0.000000001")


def charge_usd(model: Model, bill: Bill, output_tokens: int) -> Decimal:
    """Return the amount for a call, to the nano-dollar.

    Args:
        model: The model that was called, with its prices.
        bill: The tokens of the input by kind, those of reasoning, and the service tier.
        output_tokens: The tokens of the output, reasoning included.
    """
    tier = model.service_tiers.get(bill.service_tier)
    input_usd = tier.input_usd if tier else model.input_usd_per_million
    cached_usd = tier.cached_input_usd if tier else model.cached_input_usd_per_million
    output_usd = tier.output_usd if tier else model.output_usd_per_million
    long = model.long_context
    if long is not None and bill.input_tokens > long.above_tokens:
        input_usd, cached_usd = input_usd * long.input_times, cached_usd * long.input_times
        output_usd *= long.output_times
    reasoning_usd = output_usd
    if model.reasoning_usd_per_million is not None:
        reasoning_usd = output_usd * model.reasoning_usd_per_million / model.output_usd_per_million
    hourly, written = bill.cache_write_1h_tokens, bill.cache_write_tokens
    lines = (
        (bill.input_tokens - bill.cached_tokens - written, input_usd),
        (bill.cached_tokens, cached_usd),
        (written - hourly, input_usd * model.cache_write_times),
        (hourly, input_usd * model.cache_write_1h_times),
        (output_tokens - bill.reasoning_tokens, output_usd),
        (bill.reasoning_tokens, reasoning_usd),
    )
    return (sum((tokens * usd for tokens, usd in lines), Decimal(0)) / _MILLION).quantize(_NANO_USD)
