"""What a call has spent: as the provider reports it, as far as that can be true, or by our own count."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from agents.providers.answers.encodable import encodable
from agents.providers.provider import MOST_TOKENS, AnyCall, ProviderCall
from streams.events import Message, Usage
from streams.model_catalogue import STANDARD_TIER, count_messages, count_text

_DIGITS = 9
_MOST_TIER_CHARS = 32
#: Names of the standard tier, in the words of the two APIs.
_STANDARD_TIERS = frozenset({STANDARD_TIER, "standard_only", "default", "auto", ""})


class ReportedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says that a call has spent, in our terms and as it came: numbers, or anything else.

    `input_tokens` are all of them. None stands for what it does not say.
    """

    input_tokens: object = None
    output_tokens: object = None
    cached_tokens: object = None
    reasoning_tokens: object = None
    cache_write_tokens: object = None
    cache_write_1h_tokens: object = None
    service_tier: object = None


def plausible_usage(reported: ReportedUsage, call: AnyCall, *, count_output: Callable[[], int]) -> Usage:
    """Return what can be true of what a provider reports; the rest is our own count, and marked.

    A count is plausible if it is a whole number, not negative, and no more than the model can take; a part
    only if it is no more than what it is a part of. Zeros for a prompt that was sent say nothing.
    """
    most = call.most_tokens
    sent, written = as_count(reported.input_tokens, most), as_count(reported.output_tokens, most)
    if sent == 0 and call.input_tokens:
        sent, written = None, written or None
    input_tokens = call.input_tokens if sent is None else sent
    output_tokens = count_output() if written is None else written
    cached, cached_holds = _part(reported.cached_tokens, input_tokens)
    stored, stored_holds = _part(reported.cache_write_tokens, input_tokens - cached)
    hourly, hourly_holds = _part(reported.cache_write_1h_tokens, stored)
    reasoning, reasoning_holds = _part(reported.reasoning_tokens, output_tokens)
    holds = cached_holds and stored_holds and hourly_holds and reasoning_holds
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        cache_write_tokens=stored,
        cache_write_1h_tokens=hourly,
        service_tier=tier_name(reported.service_tier),
        estimated=sent is None or written is None or not holds,
    )


def tier_name(value: object) -> str:
    """Return the service tier that a provider names; the standard one where it names none, or no name."""
    if not isinstance(value, str) or value in _STANDARD_TIERS:
        return STANDARD_TIER
    return encodable(value[:_MOST_TIER_CHARS])


def asked_tier(call: AnyCall) -> str:
    """Return the service tier that a call asks for: it counts until the provider names one."""
    return tier_name(call.params.get("service_tier")) if isinstance(call, ProviderCall) else STANDARD_TIER


def as_count(value: object, most: int = MOST_TOKENS) -> int | None:
    """Return a number of tokens; None where the value is none, or cannot be true."""
    match value:
        case bool():
            return None
        case str() if value.isascii() and value.isdigit() and len(value) <= _DIGITS:
            found = int(value)
        case float() if value.is_integer():
            found = int(value)
        case int():
            found = value
        case _:
            return None
    return found if 0 <= found <= most else None


def _part(value: object, whole: int) -> tuple[int, bool]:
    """Return a part of a count, and whether it is plausible; none is none."""
    if value is None:
        return 0, True
    found = as_count(value, whole)
    return (0, False) if found is None else (found, True)


def count_input(messages: Iterable[Message], tools: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return the number of input tokens of a prompt, tool definitions included."""
    tokens = count_messages(msgspec.to_builtins(message) for message in messages)
    return tokens + sum(count_text(msgspec.json.encode(tool).decode()) for tool in tools)


def count_output(text: str, tool_calls: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return the number of output tokens of an answer or of the part of it that came."""
    tokens = count_text(text)
    for call in tool_calls:
        function = call.get("function", {})
        tokens += count_text(function.get("name") or "") + count_text(function.get("arguments") or "")
    return tokens


def estimate(
    *,
    input_tokens: int,
    text: str,
    tool_calls: Iterable[Mapping[str, Any]] = (),
    reported: Usage | None = None,
    service_tier: str = STANDARD_TIER,
) -> Usage:
    """Return what an answer that broke off has spent.

    What the provider `reported` before the break is taken as it is, but for the output where more came than
    was reported: providers report it in full only at the end.

    Without a report the input is our own count, and `service_tier` the tier that was named or asked for.
    """
    output = count_output(text, tool_calls)
    if reported is None:
        return Usage(
            input_tokens=input_tokens, output_tokens=output, estimated=True, service_tier=service_tier
        )
    return msgspec.structs.replace(
        reported,
        input_tokens=reported.input_tokens or input_tokens,
        output_tokens=max(reported.output_tokens, output),
        estimated=True,
    )
