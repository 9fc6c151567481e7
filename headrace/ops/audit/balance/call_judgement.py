"""Judges one booked call by what the provider has billed for it. Pure.

What is booked as known has to be what was billed, to the nano-dollar. What is booked as an estimate may
differ as far as an estimate can: our count of the prompt from the provider's, and an answer that was cut off
from what the provider went on to write. What is more than that, no estimate explains.
"""

from headrace.ops.audit.evidence.records import Call, Item
from headrace.ops.audit.findings import Code

#: How far two tokenisers may differ on one text: by a factor, and on short ones by some tokens.
_TIMES = 2
_SLACK_TOKENS = 64
#: Of an answer that the guard has stopped.
_STOPPED = "content_filter"


def judge(call: Call, item: Item | None, *, complete: bool) -> Code | None:
    """Return what is wrong with a booked call; None where the invoice bears it out, or explains it.

    Args:
        call: as ClickHouse has it.
        item: what was billed for it, if anything was.
        complete: whether the invoice has everything of the time.
    """
    if item is None:
        return Code.UNINVOICED if complete and _has_to_be_billed(call) else None
    if item.times > 1:
        return Code.BILLED_TWICE
    if item.cost_nano == call.cost_nano:
        return None
    if not _is_estimate(call):
        return Code.MISPRICED
    return None if _is_explained(call, item) else Code.MISESTIMATED


def _is_estimate(call: Call) -> bool:
    return call.estimated or call.orphaned


def _was_cut_off(call: Call) -> bool:
    return call.error is not None or call.finish_reason == _STOPPED


def _has_to_be_billed(call: Call) -> bool:
    """Whether it must be on the invoice. An estimate without an answer may be of what nobody began."""
    return call.error is None or (call.cost_nano > 0 and not _is_estimate(call))


def _is_explained(call: Call, item: Item) -> bool:
    """Whether the prompt is there, and no more output than there can have been.

    The output may be less, by whatever was written after the break.
    """
    return (
        call.input_tokens <= _TIMES * item.input_tokens + _SLACK_TOKENS
        and item.input_tokens <= _TIMES * call.input_tokens + _SLACK_TOKENS
        and call.output_tokens <= _TIMES * item.output_tokens + _SLACK_TOKENS
        and (_was_cut_off(call) or item.output_tokens <= _TIMES * call.output_tokens + _SLACK_TOKENS)
        # Free where there was something to pay: that is no estimate.
        and (call.cost_nano > 0 or item.cost_nano == 0)
    )
