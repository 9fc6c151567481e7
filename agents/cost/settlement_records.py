"""Makes the reply, the log record and the ledger entry of a request. Pure functions of its outcome."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from streams.events import (
    Completion,
    Envelope,
    LedgerEntry,
    LlmCall,
    OutcomeReached,
    Payload,
    Reply,
    RequestLog,
    Usage,
)
from streams.model_catalogue import PRICE_VERSION, STANDARD_TIER

#: The fields of a usage, and of a log record, that are numbers of tokens.
_COUNTS = tuple(name for name in Usage.__struct_fields__ if name.endswith("_tokens"))


def _charged(calls: Iterable[LlmCall]) -> list[LlmCall]:
    """Return the calls that the request's sender is charged for: calls in shadow are booked on their own."""
    return [call for call in calls if not call.shadow]


def total_cost_usd(calls: tuple[LlmCall, ...]) -> Decimal:
    """Return what all attempts of a request cost together, the failed and the lost ones included."""
    return sum((call.cost_usd for call in _charged(calls)), Decimal(0))


def total_usage(calls: tuple[LlmCall, ...]) -> Usage:
    """Return the tokens of all attempts of a request together; the service tier is that of the last."""
    charged = [call.usage for call in _charged(calls)]
    return Usage(
        **{name: sum(getattr(usage, name) for usage in charged) for name in _COUNTS},
        estimated=any(usage.estimated for usage in charged),
        service_tier=charged[-1].service_tier if charged else STANDARD_TIER,
    )


def terminal_reply(event: OutcomeReached) -> Reply:
    """Return the one reply to a request.

    `usage` is that of the call that gave the answer; `cost_usd` is that of all calls.
    """
    envelope, completion = event.envelope, event.completion
    found, cache = envelope.input_verdict, envelope.cache
    return Reply(
        request_id=envelope.request_id,
        status=event.status,
        content=completion.content if completion else "",
        model=completion.model if completion else None,
        finish_reason=completion.finish_reason if completion else None,
        usage=completion.usage if completion else Usage(),
        cost_usd=total_cost_usd(envelope.calls),
        cache_hit=cache is not None and cache.hit,
        similarity=cache.similarity if cache is not None and cache.hit else None,
        cache_kind=cache.kind if cache is not None else None,
        cache_age_s=cache.age_s if cache is not None else None,
        pii_detected=found.pii_types if found is not None else (),
        prompt=envelope.prompt,
        tool_calls=completion.tool_calls if completion else (),
        tools_used=completion.tools_used if completion else (),
        timings=envelope.timings,
        accepted_at=envelope.accepted_at,
        attempt=completion.attempt if completion else 1,
        error=event.error,
        replay=envelope.replay,
        embeddings=completion.embeddings if completion else None,
    )


def request_log(
    event: OutcomeReached, reply: Reply, *, finished_at: datetime, store_text: bool
) -> RequestLog:
    """Return the complete record of a request for analysts."""
    envelope, completion = event.envelope, event.completion
    input_verdict, output_verdict = envelope.input_verdict, envelope.output_verdict
    prompt, cache = envelope.prompt, envelope.cache
    usage = total_usage(envelope.calls)
    return RequestLog(
        request_id=envelope.request_id,
        tenant=envelope.tenant,
        user_id=envelope.user_id,
        tier=envelope.tier,
        session_id=envelope.session_id or "",
        accepted_at=envelope.accepted_at,
        finished_at=finished_at,
        status=reply.status,
        latency_ms=round((finished_at - envelope.accepted_at) / timedelta(milliseconds=1), 3),
        prompt_template=prompt.name if prompt else "",
        prompt_version=prompt.version if prompt else "",
        experiment=(prompt.experiment or "") if prompt else "",
        arm=(prompt.arm or "") if prompt else "",
        model=reply.model or "",
        provider=(completion.provider or "") if completion else "",
        **{name: getattr(usage, name) for name in _COUNTS},
        usage_estimated=usage.estimated,
        service_tier=usage.service_tier,
        long_context=any(call.long_context for call in _charged(envelope.calls)),
        cost_usd=reply.cost_usd,
        price_version=_price_version(envelope),
        cache_hit=reply.cache_hit,
        cache_kind=cache.kind.value if cache else "",
        cache_similarity=cache.similarity if cache else None,
        guardrail_input_pass=input_verdict.passed if input_verdict else True,
        guardrail_input_rule=(input_verdict.rule or "") if input_verdict else "",
        guardrail_output_pass=output_verdict.passed if output_verdict else True,
        guardrail_output_rule=(output_verdict.rule or "") if output_verdict else "",
        pii_types=input_verdict.pii_types if input_verdict else (),
        output_flags=output_verdict.flags if output_verdict else (),
        tools_used=reply.tools_used,
        finish_reason=reply.finish_reason or "",
        fallback=_fell_back(envelope, completion),
        stream=envelope.request.stream,
        error=reply.error.message if reply.error else None,
        error_code=reply.error.code if reply.error else "",
        timings=envelope.timings,
        calls=envelope.calls,
        payload=_payload(envelope, reply) if store_text else None,
    )


def ledger_entry(envelope: Envelope, amount_usd: Decimal, booked_at: datetime) -> LedgerEntry:
    """Return the booking of a request's spend in all; its id is the same however often it is sent.

    Where a dead letter of the request was replayed, `replay` tells the bookings apart: the last one counts.
    """
    return LedgerEntry(
        entry_id=f"{envelope.request_id}:settle",
        request_id=envelope.request_id,
        tenant=envelope.tenant,
        user_id=envelope.user_id,
        kind="settle",
        amount_usd=amount_usd,
        booked_at=booked_at,
        replay=envelope.replay,
        usage=total_usage(envelope.calls),
        price_version=_price_version(envelope),
    )


def _price_version(envelope: Envelope) -> str:
    return envelope.calls[-1].price_version if envelope.calls else PRICE_VERSION


def _fell_back(envelope: Envelope, completion: Completion | None) -> bool:
    """Whether another model answered than the first one that was tried, or none did."""
    if completion is None or not envelope.calls:
        return False
    models = [call.request_model for call in _charged(envelope.calls)]
    answered = [
        call.request_model for call in _charged(envelope.calls) if call.error is None and not call.orphaned
    ]
    return completion.degraded or completion.provider is None or answered[-1:] != models[:1]


def _payload(envelope: Envelope, reply: Reply) -> Payload:
    request = envelope.request
    if request.messages is not None:
        text = "\n".join(f"{message.role}: {message.text}" for message in request.messages)
    else:
        text = request.query or ""
    return Payload(request_text=text, reply_text=reply.content)
