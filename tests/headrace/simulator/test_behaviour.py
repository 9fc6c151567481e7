"""Setting the behaviour: what is taken, what is refused, and how answers follow it."""

from random import Random
from typing import Any

import openai
import pytest

from headrace.simulator.behaviour import Latency, LogNormal, TokenTiming, Uniform
from streams.model_catalogue import count_text
from tests.headrace.simulator.conftest import Operator

_DEFAULT = {
    "latency": {"first_token_ms": 0.0, "tokens_per_second": None},
    "cached_input_share": 0.0,
    "faults": [],
    "answers": [],
    "raw_answers": [],
}


def _say(gpt: openai.OpenAI, prompt: str, **more: Any) -> Any:
    return gpt.chat.completions.create(
        **{"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **more}
    )


def test_set_show_reset(operator: Operator) -> None:
    """What is set is shown, what is not set has its default, and a reset brings the defaults back."""
    latency = {
        "first_token_ms": {"distribution": "lognormal", "median_ms": 200.0, "sigma": 0.4},
        "tokens_per_second": 30.0,
    }
    put = operator.http.put("/behaviour", json={"latency": latency})
    assert put.json() == operator.http.get("/behaviour").json() == {**_DEFAULT, "latency": latency}
    assert operator.http.put("/behaviour", json=put.json()).json() == put.json()
    assert operator.http.delete("/behaviour").json() == _DEFAULT


@pytest.mark.parametrize(
    ("behaviour", "place"),
    [
        ([], "Expected `object`"),
        ({"speed": 1}, "unknown field `speed`"),
        ({"latency": {"first_token_ms": -1}}, "$.latency.first_token_ms"),
        ({"latency": {"first_token_ms": {"distribution": "normal"}}}, "$.latency.first_token_ms"),
        ({"latency": {"tokens_per_second": 0}}, "$.latency.tokens_per_second"),
        (
            {"latency": {"first_token_ms": {"distribution": "uniform", "min_ms": 2, "max_ms": 1}}},
            "`min_ms` is above `max_ms`",
        ),
        ({"cached_input_share": 1.1}, "$.cached_input_share"),
        ({"faults": [{"kind": "explode", "rate": 1}]}, "$.faults[0].kind"),
        ({"faults": [{"kind": "drop"}]}, "`rate`"),
        ({"faults": [{"kind": "drop", "rate": 0.5, "next_calls": 2}]}, "`next_calls`"),
        ({"faults": [{"kind": "drop", "rate": 2}]}, "$.faults[0].rate"),
        ({"faults": [{"kind": "drop", "rate": 1, "provider": "acme"}]}, "$.faults[0].provider"),
        ({"faults": [{"kind": "drop", "rate": 1, "retry_after_s": 2}]}, "does not apply to `drop`"),
        (
            {"faults": [{"kind": "rate_limit", "rate": 1, "after_chunks": 2}]},
            "does not apply to `rate_limit`",
        ),
        ({"faults": [{"kind": "slow", "rate": 1}]}, "`slow`"),
        ({"answers": [{"prompt_contains": "x"}]}, "$.answers[0]"),
        ({"answers": [{"text": "x", "chunk_chars": 0}]}, "$.answers[0].chunk_chars"),
        ({"answers": [{"text": "x", "chunk_chars": []}]}, "$.answers[0].chunk_chars"),
    ],
)
def test_refused(operator: Operator, behaviour: Any, place: str) -> None:
    """A wrong behaviour is refused with its place, and the one in force stays."""
    operator.behave(cached_input_share=0.25)
    response = operator.http.put("/behaviour", json=behaviour)
    assert response.status_code == 422
    assert place in response.json()["error"]["message"]
    assert operator.http.get("/behaviour").json()["cached_input_share"] == 0.25


def test_answers_by_substring(gpt: openai.OpenAI, operator: Operator) -> None:
    """The first rule that fits gives the answer; prompts without a rule get generated ones."""
    operator.behave(
        answers=[
            {"prompt_contains": "capital of France", "text": "Paris."},
            {"prompt_contains": "capital", "text": "A city.", "model": "gpt-4o"},
        ]
    )
    assert _say(gpt, "The capital of France?").choices[0].message.content == "Paris."
    done = _say(gpt, "The capital of Spain?")
    assert done.choices[0].message.content == "A city."
    assert done.usage.completion_tokens == count_text("A city.")
    assert "(simulated)" in _say(gpt, "The capital of Spain?", model="gpt-4o-mini").choices[0].message.content


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [(4, ["abcd", "efgh", "ij"]), ([1, 3], ["a", "bcd", "e", "fgh", "i", "j"]), (99, ["abcdefghij"])],
)
def test_chunks_of_given_sizes(
    gpt: openai.OpenAI, operator: Operator, sizes: Any, expected: list[str]
) -> None:
    """A rule sets the size of the chunks, as a list that is repeated."""
    operator.behave(answers=[{"text": "abcdefghij", "chunk_chars": sizes}])
    chunks = _say(gpt, "x", stream=True)
    assert [text for chunk in chunks if (text := chunk.choices[0].delta.content)] == expected


def test_empty_text(gpt: openai.OpenAI, operator: Operator) -> None:
    """An empty answer is an answer: no tokens, a stop, also in a stream."""
    operator.behave(answers=[{"text": ""}])
    done = _say(gpt, "x")
    assert (done.choices[0].message.content, done.usage.completion_tokens) == ("", 0)
    assert [c.choices[0].finish_reason for c in _say(gpt, "x", stream=True)] == [None, "stop"]


def test_prompts_cannot_direct_the_simulator(gpt: openai.OpenAI, operator: Operator) -> None:
    """Text in a prompt that looks like a behaviour changes nothing."""
    _say(gpt, '{"faults":[{"kind":"server_error","rate":1}]} PUT /behaviour')
    assert operator.http.get("/behaviour").json() == _DEFAULT


def test_fixed() -> None:
    """Milliseconds and tokens a second become seconds."""
    assert Latency(first_token_ms=250, tokens_per_second=50).draw(Random(0)) == TokenTiming(
        first_token_s=0.25, token_s=0.02
    )
    assert Latency().draw(Random(0)).instant


def test_distributions_are_seeded_and_within_bounds() -> None:
    """Uniform times stay within their bounds; log-normal ones lie about their median; seeds repeat."""
    random = Random(1)
    even = [
        Latency(first_token_ms=Uniform(min_ms=10, max_ms=20)).draw(random).first_token_s for _ in range(200)
    ]
    assert 0.010 <= min(even) < 0.012
    assert 0.018 < max(even) <= 0.020
    tail = Latency(first_token_ms=LogNormal(median_ms=100, sigma=0.5))
    times = sorted(tail.draw(random).first_token_s for _ in range(1_001))
    assert 0.08 < times[500] < 0.12
    assert tail.draw(Random(3)) == tail.draw(Random(3))


def test_due_and_generated_agree() -> None:
    """A token is generated exactly when it is due."""
    timing = TokenTiming(first_token_s=0.5, token_s=0.25)
    assert [timing.due_s(count) for count in (0, 1, 2, 3)] == [0.5, 0.5, 0.75, 1.0]
    assert [timing.generated(at, 3) for at in (0.4, 0.5, 0.75, 0.9, 60.0)] == [0, 1, 2, 2, 3]
    assert TokenTiming(first_token_s=0.5).generated(0.5, 9) == 9
