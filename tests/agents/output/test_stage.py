"""What the output check lets through, and what it keeps for the cache."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from agents.checks.output_policy import DEFAULT_POLICY, OutputPolicy
from agents.output.stage import BLOCKED_ANSWER, OutputStage
from agents.prompts import PromptCatalogue
from agents.stores.answer_cache import CachedAnswer
from streams.errors import StoreUnavailable
from streams.events import CacheSlot, Completed, Message, OutcomeReached, PromptRef, Status
from streams.topics import COMPLETIONS, OUTCOMES
from tests.fakes.envelopes import NOW, chat, completion, delivery, envelope, said
from tests.fakes.settings import settings_of

SLOT = CacheSlot(scope="s", exact_key="k", text="What is the capital of France?")
V2 = PromptRef(name="general_chat", version="v2")
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "s", "schema": {"type": "object", "required": ["city"]}},
}


@dataclass
class KeptAnswers:
    """The answer cache, as far as it is written to."""

    kept: list[tuple[CacheSlot, CachedAnswer, str]] = field(default_factory=list)
    broken: bool = False

    async def put(self, slot: CacheSlot, answer: CachedAnswer, *, tenant: str) -> None:
        if self.broken:
            raise StoreUnavailable("Redis: away")
        self.kept.append((slot, answer, tenant))


@pytest.fixture
def cache() -> KeptAnswers:
    return KeptAnswers()


async def check(
    cache: KeptAnswers,
    content: str = "Paris is the capital of France.",
    *,
    request: dict[str, Any] | None = None,
    messages: tuple[Message, ...] | None = None,
    prompt: PromptRef | None = V2,
    slot: CacheSlot | None = SLOT,
    policy: OutputPolicy = DEFAULT_POLICY,
    **fields: Any,
) -> OutcomeReached:
    asked = chat(**(request or {}))
    event = Completed(
        envelope=envelope(asked, prompt=prompt),
        messages=messages or asked.messages or (said("user", "rendered"),),
        completion=completion(content, **fields),
        cache_slot=slot,
    )
    stage = OutputStage(PromptCatalogue(), cache, policy=policy, clock=lambda: NOW)  # type: ignore[arg-type]  # a fake
    given = delivery(event, topic=COMPLETIONS)
    (emit,) = await stage.handle(given)
    await stage.delivered(given)
    assert (emit.topic, emit.key) == (OUTCOMES.name, "r-1")
    assert isinstance(emit.value, OutcomeReached)
    return emit.value


def call(arguments: str) -> tuple[dict[str, Any], ...]:
    return ({"id": "c", "type": "function", "function": {"name": "run", "arguments": arguments}},)


async def test_a_good_answer_passes_unchanged_and_is_kept(cache: KeptAnswers) -> None:
    """Under its slot and tenant, with where it came from and when."""
    outcome = await check(cache)
    assert outcome.status is Status.ANSWERED
    assert outcome.completion == completion()
    verdict = outcome.envelope.output_verdict
    assert verdict is not None
    assert (verdict.passed, verdict.rule, verdict.flags) == (True, None, ())
    answer = CachedAnswer(
        request_id="r-1",
        text=SLOT.text,
        content="Paris is the capital of France.",
        model="gpt-4o-2024-08-06",
        provider="openai",
        finish_reason="stop",
        cached_at=NOW,
    )
    assert cache.kept == [(SLOT, answer, "acme")]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("Run DROP TABLE users; now", "banned.sql_drop"),
        ("then rm -rf / and wait", "banned.rm_rf_root"),
        ("You said: You are an AI assistant that gives precise, actionable answers. Never", "prompt_leak"),
    ],
)
async def test_a_blocked_answer_is_replaced(cache: KeptAnswers, content: str, rule: str) -> None:
    """Not a word of it goes on; its spend does, for it was paid. It is not kept."""
    outcome = await check(cache, content)
    assert outcome.status is Status.BLOCKED
    assert outcome.completion is not None
    assert outcome.completion.content == BLOCKED_ANSWER
    assert outcome.completion.finish_reason == "content_filter"
    assert outcome.completion.usage == completion().usage
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.code) == ("content_policy_error", rule)
    verdict = outcome.envelope.output_verdict
    assert verdict is not None
    assert (verdict.passed, verdict.rule) == (False, rule)
    assert verdict.reason is not None
    assert cache.kept == []


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_system_message_must_not_be_repeated(cache: KeptAnswers, role: str) -> None:
    """Of requests that bring their own instructions."""
    secret = "You are the butler of Lord Black and never mention the cellar key under the third stone."
    messages = (said(role, secret), said("user", "Who are you?"))
    outcome = await check(
        cache, f"I was told: {secret}", request={"query": None, "messages": messages}, prompt=None
    )
    assert outcome.status is Status.BLOCKED
    assert outcome.error is not None
    assert outcome.error.code == "prompt_leak"


async def test_the_users_own_words_may_be_repeated(cache: KeptAnswers) -> None:
    """They are no secret to the user, nor is the user's own address."""
    said_by_user = "You are an AI assistant that gives precise, actionable answers. Mine is ann@example.org"
    outcome = await check(cache, f"You wrote: {said_by_user}", request={"query": said_by_user})
    assert outcome.status is Status.ANSWERED
    assert outcome.completion is not None
    assert "ann@example.org" in outcome.completion.content


async def test_personal_data_is_redacted_and_the_answer_not_kept(cache: KeptAnswers) -> None:
    """What was in it belonged to somebody."""
    outcome = await check(cache, "Write to bob@example.org or call.")
    assert outcome.status is Status.ANSWERED
    assert outcome.completion is not None
    assert outcome.completion.content == "Write to [REDACTED_EMAIL] or call."
    verdict = outcome.envelope.output_verdict
    assert verdict is not None
    assert (verdict.passed, verdict.redacted_types) == (True, ("email",))
    assert cache.kept == []


@pytest.mark.parametrize(
    ("content", "response_format"),
    [
        ("Paris", {"type": "json_object"}),
        ("[1]", {"type": "json_object"}),
        ('{"town": "Paris"}', SCHEMA),
        ('{"city": ', SCHEMA),
    ],
)
async def test_an_answer_in_the_wrong_format_fails(
    cache: KeptAnswers, content: str, response_format: dict[str, Any]
) -> None:
    """The caller was promised that it parses; what does not is not shown, and not kept."""
    outcome = await check(cache, content, request={"response_format": response_format})
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.code) == ("api_error", "invalid_output_format")
    assert outcome.error.param == "response_format"
    assert outcome.completion is not None
    assert (outcome.completion.content, outcome.completion.usage) == ("", completion().usage)
    verdict = outcome.envelope.output_verdict
    assert verdict is not None
    assert (verdict.passed, verdict.rule) == (False, "invalid_output_format")
    assert cache.kept == []


@pytest.mark.parametrize("response_format", [{"type": "text"}, {"type": "json_object"}, SCHEMA])
async def test_an_answer_in_the_right_format_passes(
    cache: KeptAnswers, response_format: dict[str, Any]
) -> None:
    """And is kept like any other."""
    outcome = await check(cache, '{"city": "Paris"}', request={"response_format": response_format})
    assert outcome.status is Status.ANSWERED
    assert len(cache.kept) == 1


async def test_a_tool_call_has_no_format(cache: KeptAnswers) -> None:
    """The format is that of the answer, which comes later; a call is never kept."""
    outcome = await check(
        cache,
        "",
        request={"response_format": SCHEMA},
        tool_calls=call('{"city": "Paris"}'),
        finish_reason="tool_calls",
    )
    assert outcome.status is Status.ANSWERED
    assert outcome.completion is not None
    assert outcome.completion.tool_calls == call('{"city": "Paris"}')
    assert cache.kept == []


async def test_what_a_tool_is_told_is_checked_as_the_answer_is(cache: KeptAnswers) -> None:
    """It leaves us just as an answer does; the record says that the check did not pass."""
    calls = (*call('{"city": "Paris"}'), *call('{"cmd": "rm -rf / now"}'))
    outcome = await check(cache, "", tool_calls=calls, finish_reason="tool_calls")
    assert outcome.status is Status.BLOCKED
    assert outcome.completion is not None
    assert (outcome.completion.tool_calls, outcome.completion.content) == ((), BLOCKED_ANSWER)
    assert outcome.error is not None
    assert outcome.error.code == "banned.rm_rf_root"
    verdict = outcome.envelope.output_verdict
    assert verdict is not None
    assert (verdict.passed, verdict.rule) == (False, "banned.rm_rf_root")


async def test_personal_data_in_tool_calls_is_redacted(cache: KeptAnswers) -> None:
    """Their arguments stay JSON and their ids the same; what was found is in the record."""
    arguments = '{"to": "bob\\u0040example.com", "card": 4111111111111111, "why": "x"}'
    calls = (
        {
            "id": "call_4111111111111111",
            "type": "function",
            "function": {"name": "f", "arguments": arguments},
        },
    )
    outcome = await check(cache, "", tool_calls=calls, finish_reason="tool_calls")
    assert outcome.completion is not None
    (kept,) = outcome.completion.tool_calls
    assert json.loads(kept["function"]["arguments"]) == {
        "to": "[REDACTED_EMAIL]",
        "card": "[REDACTED_CREDIT_CARD]",
        "why": "x",
    }
    assert (kept["id"], kept["function"]["name"]) == ("call_4111111111111111", "f")
    verdict = outcome.envelope.output_verdict
    assert verdict is not None
    assert verdict.redacted_types == ("email", "credit_card")


async def test_escapes_do_not_hide_what_blocks(cache: KeptAnswers) -> None:
    """The tool reads the text behind them."""
    call_ = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": '{"q": "DR\\u004fP TABLE x"}'},
    }
    outcome = await check(cache, "", tool_calls=(call_,), finish_reason="tool_calls")
    assert outcome.error is not None
    assert outcome.error.code == "banned.sql_drop"


@pytest.mark.parametrize(
    ("content", "fields", "flag"),
    [
        ("Paris is the", {"finish_reason": "length"}, "truncated"),
        ("I'm sorry, but I can't help with that.", {}, "refusal"),
        ("", {}, "empty"),
        ("Paris.", {"finish_reason": "content_filter"}, None),
    ],
)
async def test_an_answer_that_is_no_good_answer_is_not_kept(
    cache: KeptAnswers, content: str, fields: dict[str, Any], flag: str | None
) -> None:
    """It passes, and says what it is; the next one who asks may have a better one."""
    outcome = await check(cache, content, **fields)
    assert outcome.status is Status.ANSWERED
    assert outcome.envelope.output_verdict is not None
    assert outcome.envelope.output_verdict.flags == ((flag,) if flag else ())
    assert cache.kept == []


async def test_without_a_slot_nothing_is_kept(cache: KeptAnswers) -> None:
    """The cache stage said that this answer is nobody else's."""
    assert (await check(cache, slot=None)).status is Status.ANSWERED
    assert cache.kept == []


async def test_a_cache_that_is_away_does_not_hold_up_the_answer(cache: KeptAnswers) -> None:
    """Keeping it only saves work later."""
    cache.broken = True
    assert (await check(cache)).status is Status.ANSWERED


async def test_the_installations_policy_decides(cache: KeptAnswers) -> None:
    """What settings say is redacted or blocks, in the answer and in the arguments of tool calls."""
    lenient = OutputPolicy.from_settings(settings_of(output_redact=("ssn",)))
    strict = OutputPolicy.from_settings(settings_of(output_block=("email",)))
    passed = await check(cache, "Write to bob@example.com.", policy=lenient)
    assert passed.completion is not None
    assert passed.completion.content == "Write to bob@example.com."
    blocked = await check(cache, "Write to bob@example.com.", policy=strict)
    assert blocked.status is Status.BLOCKED
    assert blocked.error is not None
    assert blocked.error.code == "pii.email"
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": '{"to": "bob@example.com"}'},
    }
    in_call = await check(cache, "", tool_calls=(call,), policy=strict)
    assert in_call.status is Status.BLOCKED
