"""What a request leaves behind: reply, log record, booking."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.cost.settlement_records import (
    ledger_entry,
    request_log,
    terminal_reply,
    total_cost_usd,
    total_usage,
)
from streams.events import (
    CacheKind,
    CacheLookup,
    Completion,
    ErrorInfo,
    InputVerdict,
    OutcomeReached,
    OutputVerdict,
    Payload,
    PromptRef,
    RequestLog,
    Status,
    Timing,
    Usage,
)
from streams.model_catalogue import PRICE_VERSION
from tests.agents.cost.calls import failed_call, llm_call
from tests.fakes.envelopes import NOW, chat, completion, envelope, said

PROMPT = PromptRef(name="general_chat", version="v2", experiment="e", arm="variant")
TIMING = Timing(stage="llm", started_at=NOW, queue_us=1, work_us=2, outcome="passed")
MISS = CacheLookup(kind=CacheKind.MISS, similarity=0.4)


def event(
    status: Status = Status.ANSWERED, *, answer: Completion | None = None, **fields: Any
) -> OutcomeReached:
    error = fields.pop("error", None)
    request = fields.pop("request", None)
    return OutcomeReached(envelope=envelope(request, **fields), status=status, completion=answer, error=error)


def log(of: OutcomeReached, *, store_text: bool = True) -> RequestLog:
    return request_log(
        of, terminal_reply(of), finished_at=NOW + timedelta(milliseconds=1234.567), store_text=store_text
    )


def answered(**fields: Any) -> OutcomeReached:
    given: dict[str, Any] = {
        "answer": completion(),
        "prompt": PROMPT,
        "cache": MISS,
        "calls": (llm_call(),),
        "input_verdict": InputVerdict(passed=True, pii_types=("email",), input_tokens=9),
        "output_verdict": OutputVerdict(passed=True, flags=("refusal",)),
        "timings": (TIMING,),
    }
    return event(**(given | fields))


def test_an_answered_request_leaves_every_field() -> None:
    """All that the mission asks to be recorded, and what analysts join it with."""
    assert log(answered(request=chat(session_id="s", stream=True))) == RequestLog(
        request_id="r-1",
        tenant="acme",
        user_id="ann",
        tier="standard",
        session_id="s",
        accepted_at=NOW,
        finished_at=NOW + timedelta(milliseconds=1234.567),
        status=Status.ANSWERED,
        latency_ms=1234.567,
        prompt_template="general_chat",
        prompt_version="v2",
        experiment="e",
        arm="variant",
        model="gpt-4o-2024-08-06",
        provider="openai",
        input_tokens=100,
        output_tokens=20,
        cached_tokens=10,
        reasoning_tokens=5,
        cost_usd=Decimal("0.00045"),
        price_version="2026-11-01",
        cache_hit=False,
        cache_kind="miss",
        cache_similarity=0.4,
        guardrail_input_pass=True,
        guardrail_output_pass=True,
        pii_types=("email",),
        output_flags=("refusal",),
        finish_reason="stop",
        stream=True,
        error=None,
        timings=(TIMING,),
        calls=(llm_call(),),
        payload=Payload(
            request_text="What is the capital of France?", reply_text="Paris is the capital of France."
        ),
    )


def test_the_reply_to_an_answered_request() -> None:
    """The tokens of the call that answered, the cost of all of them."""
    lost = failed_call(usage=Usage(input_tokens=100), cost_usd=Decimal("0.00025"), error="timeout")
    reply = terminal_reply(answered(calls=(lost, llm_call())))
    assert (reply.request_id, reply.status, reply.content) == ("r-1", Status.ANSWERED, completion().content)
    assert reply.usage == completion().usage
    assert reply.cost_usd == Decimal("0.0007")
    assert (reply.model, reply.finish_reason, reply.cache_hit) == ("gpt-4o-2024-08-06", "stop", False)
    assert (reply.prompt, reply.accepted_at, reply.error) == (PROMPT, NOW, None)
    assert (reply.pii_detected, reply.similarity) == (("email",), None)  # that of a miss says nothing
    assert not reply.repeat


def test_a_cache_hit_costs_nothing_and_says_so() -> None:
    """No call, no tokens; the model is the one that answered first."""
    hit = CacheLookup(kind=CacheKind.SEMANTIC, similarity=0.95, source_request_id="r-0")
    row = log(answered(status=Status.CACHED, cache=hit, calls=(), answer=completion(usage=Usage())))
    assert (row.status, row.cache_hit, row.cache_kind, row.cache_similarity) == (
        Status.CACHED,
        True,
        "semantic",
        0.95,
    )
    assert terminal_reply(answered(status=Status.CACHED, cache=hit)).similarity == 0.95
    assert (row.cost_usd, row.input_tokens, row.output_tokens) == (Decimal(0), 0, 0)
    assert (row.model, row.price_version, row.fallback) == ("gpt-4o-2024-08-06", PRICE_VERSION, False)


def test_a_blocked_request_never_reached_a_model() -> None:
    """The guardrail's rule, and the error as its sender read it."""
    verdict = InputVerdict(passed=False, rule="override", reason="injection", input_tokens=9)
    error = ErrorInfo(
        type="content_policy_error", code="override", message="Potential prompt injection detected"
    )
    row = log(event(Status.BLOCKED, input_verdict=verdict, error=error))
    assert (row.guardrail_input_pass, row.guardrail_input_rule) == (False, "override")
    assert (row.error, row.error_code) == ("Potential prompt injection detected", "override")
    assert (row.model, row.prompt_template, row.cache_kind, row.cost_usd) == ("", "", "", Decimal(0))
    assert row.guardrail_output_pass


def test_a_blocked_answer_was_paid_for() -> None:
    """The output rule, and the cost of what nobody got to read."""
    row = log(answered(status=Status.BLOCKED, output_verdict=OutputVerdict(passed=False, rule="prompt_leak")))
    assert (row.guardrail_input_pass, row.guardrail_output_pass, row.guardrail_output_rule) == (
        True,
        False,
        "prompt_leak",
    )
    assert row.cost_usd == Decimal("0.00045")


def test_a_degraded_answer_names_the_calls_that_failed() -> None:
    """It is nobody's, and counts as a fallback."""
    calls = (failed_call("gpt-4o"), failed_call("claude-3-opus", error="overloaded"))
    degraded = completion("Sorry.", provider=None, degraded=True, usage=Usage(), model="none")
    row = log(answered(status=Status.DEGRADED, answer=degraded, calls=calls))
    assert (row.status, row.fallback, row.provider) == (Status.DEGRADED, True, "")
    assert [call.error for call in row.calls] == ["rate_limited", "overloaded"]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_a_failure_keeps_the_spend_of_its_calls(status: Status) -> None:
    """Whatever became of the request, the provider's bill comes."""
    error = ErrorInfo(type="timeout_error", code="deadline_exceeded", message="too late")
    of = event(status, calls=(llm_call(),), error=error)
    row, reply = log(of), terminal_reply(of)
    assert (row.status, row.cost_usd, row.input_tokens) == (status, Decimal("0.00045"), 100)
    assert (row.error, row.error_code, row.model, row.fallback) == (
        "too late",
        "deadline_exceeded",
        "",
        False,
    )
    assert (reply.error, reply.content, reply.model, reply.usage) == (error, "", None, Usage())


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_its_reply_and_log(status: Status) -> None:
    """With as little in the envelope as there can be, and with as much."""
    for of in (event(status), answered(status=status)):
        assert terminal_reply(of).status is status
        assert log(of).status is status


@pytest.mark.parametrize(
    ("calls", "fell_back"),
    [
        ((llm_call("gpt-4o"),), False),
        ((failed_call("gpt-4o"), llm_call("gpt-4o")), False),
        ((failed_call("gpt-4o"), llm_call("claude-3-opus")), True),
        ((failed_call("gpt-4o"), failed_call("claude-3-opus"), llm_call("gpt-4o-mini")), True),
        ((llm_call("gpt-4o", orphaned=True, error="orphaned"), llm_call("gpt-4o")), False),
        ((llm_call("gpt-4o", orphaned=True, error="orphaned"), llm_call("claude-3-opus")), True),
        ((llm_call("gpt-4o-mini", shadow=True), llm_call("gpt-4o")), False),
        ((llm_call("gpt-4o"), llm_call("gpt-4o-mini", shadow=True)), False),
        ((), False),
    ],
)
def test_a_fallback_is_an_answer_of_another_model_than_the_first(
    calls: tuple[Any, ...], fell_back: bool
) -> None:
    """A second try at the same one is none, and a call in shadow answers nobody."""
    assert log(answered(calls=calls)).fallback is fell_back


def test_all_attempts_count_but_for_those_in_shadow() -> None:
    """The sender's bill is what was asked for the sender."""
    calls = (
        llm_call(),
        llm_call(shadow=True),
        llm_call(orphaned=True, usage=Usage(input_tokens=1), cost_usd=Decimal("0.000000001")),
    )
    assert total_cost_usd(calls) == Decimal("0.000450001")
    assert total_usage(calls) == Usage(
        input_tokens=101, output_tokens=20, cached_tokens=10, reasoning_tokens=5
    )
    assert (total_cost_usd(()), total_usage(())) == (Decimal(0), Usage())


def test_texts_are_stored_only_where_that_is_wanted() -> None:
    """And conversations with who said what."""
    assert log(answered(), store_text=False).payload is None
    conversation = chat(messages=(said("system", "be brief"), said("user", "hi")))
    payload = log(answered(request=conversation)).payload
    assert payload is not None
    assert payload.request_text == "system: be brief\nuser: hi"


def test_a_booking_has_the_same_id_however_often_it_is_made() -> None:
    """A repeat of it is recognised in the ledger."""
    one = ledger_entry(envelope(), Decimal("0.1"), NOW)
    other = ledger_entry(envelope(), Decimal("0.1"), NOW + timedelta(seconds=9))
    assert one.entry_id == other.entry_id == "r-1:settle"
    assert (one.kind, one.amount_usd, one.tenant, one.user_id) == ("settle", Decimal("0.1"), "acme", "ann")


def test_every_count_of_tokens_is_in_the_log_record() -> None:
    """A usage's new field that the log record lacks would fail each request."""
    counts = {name for name in Usage.__struct_fields__ if name.endswith("_tokens")}
    assert counts <= set(RequestLog.__struct_fields__)
