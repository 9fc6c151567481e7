"""Checks one booked call against what the provider has billed for it. Pure.

What is booked as known has to be what was billed, to the nano-dollar. What is booked as an estimate may
differ as far as an estimate can: our count of the prompt from the provider's, and an answer that was cut off
from what the provider went on to write. What is more than that, no estimate explains.
"""

from headrace.ops.audit.evidence.records import BilledCall, CallRow
from headrace.ops.audit.findings import FindingKind

#: How far two tokenisers may differ on one text: by a factor, and on short ones by some tokens.
_TIMES = 2
_SLACK_TOKENS = 64
#: The finish reason of an answer that the output check has stopped.
_STOPPED = "content_filter"


def check_call(call: CallRow, item: BilledCall | None, *, complete: bool) -> FindingKind | None:
    """Return what is wrong with a booked call; None where the invoice confirms or explains it.

    `complete`: whether the invoice has everything of the time.
    """
    is_estimate = call.estimated or call.orphaned
    if item is None:
        # An estimate without an answer may be of a call that the provider never began.
        has_to_be_billed = call.error is None or (call.cost_nano > 0 and not is_estimate)
        return FindingKind.CALLS_NOT_INVOICED if complete and has_to_be_billed else None
    if item.times > 1:
        return FindingKind.CALLS_BILLED_TWICE
    if item.cost_nano == call.cost_nano:
        return None
    if not is_estimate:
        return FindingKind.CALLS_MISPRICED
    return None if _is_explained(call, item) else FindingKind.CALLS_MISESTIMATED


def _is_explained(call: CallRow, item: BilledCall) -> bool:
    """Whether the prompt is there, and no more output than there can have been.

    The output of an answer that was cut off may be less, by whatever was written after the break.
    """
    was_cut_off = call.error is not None or call.finish_reason == _STOPPED
    return (
        call.input_tokens <= _TIMES * item.input_tokens + _SLACK_TOKENS
        and item.input_tokens <= _TIMES * call.input_tokens + _SLACK_TOKENS
        and call.output_tokens <= _TIMES * item.output_tokens + _SLACK_TOKENS
        and (was_cut_off or item.output_tokens <= _TIMES * call.output_tokens + _SLACK_TOKENS)
        # Free where there was something to pay: that is no estimate.
        and (call.cost_nano > 0 or item.cost_nano == 0)
    )
