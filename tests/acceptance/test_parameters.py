"""Parameters in the running system: what clients send reaches the provider, or is refused by name."""

import json
from collections.abc import Mapping
from typing import Any

import anthropic
import openai
import pytest
from aiokafka import AIOKafkaProducer
from anthropic import Anthropic
from openai import OpenAI

from tests.acceptance.conftest import System, unique, wait_for

pytestmark = pytest.mark.acceptance

GPT, CLAUDE = "gpt-4o", "claude-3-5-sonnet"
CACHED = {"type": "ephemeral", "ttl": "1h"}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


@pytest.fixture
def gpt(healthy: System) -> OpenAI:
    return OpenAI(base_url=f"{healthy.endpoints.ingest}/v1", api_key=healthy.endpoints.api_key, max_retries=0)


@pytest.fixture
def claude(healthy: System) -> Anthropic:
    return Anthropic(base_url=healthy.endpoints.ingest, api_key=healthy.endpoints.api_key, max_retries=0)


def received(system: System, marker: str) -> dict[str, Any]:
    """The body of the one call in which a text stands."""
    (body,) = system.received(marker)
    return dict(json.loads(body))


def has(body: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return {name: body.get(name) for name in wanted} == wanted


def test_openais_parameters_reach_openais_models(healthy: System, gpt: OpenAI) -> None:
    """As they are, but for who asks, which is a hash; what only hints at Anthropic's cache is left out."""
    asked = unique("Which parameters came?")
    passed: dict[str, Any] = {
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"1734": -5},
        "parallel_tool_calls": False,
        "prediction": {"type": "content", "content": "None."},
        "prompt_cache_key": "wheel",
        "prompt_cache_retention": "24h",
        "reasoning_effort": "low",
        "service_tier": "flex",
        "store": True,
        "metadata": {"team": "mill"},
        "verbosity": "low",
        "seed": 7,
        "temperature": 1.0,
        "top_p": 0.9,
        "stop": ["END"],
        "tools": [TOOL],
        "tool_choice": "none",
    }
    content: Any = [{"type": "text", "text": asked, "cache_control": CACHED}]
    answer = gpt.chat.completions.create(
        model=GPT,
        messages=[{"role": "user", "content": content, "name": "ann"}],
        safety_identifier="ann-7",
        user="ann",
        **passed,
    )
    assert answer.model.startswith(GPT)
    body = received(healthy, asked)
    assert has(body, passed)
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": asked}], "name": "ann"}]
    assert {len(body["user"]), len(body["safety_identifier"])} == {32}


def test_openais_parameters_are_translated_for_anthropics_models(healthy: System, gpt: OpenAI) -> None:
    """And their prompt cache is used, as the parts of the content ask."""
    asked = unique("Which parameters came?")
    content: Any = [
        {"type": "text", "text": "A long prefix.", "cache_control": CACHED},
        {"type": "text", "text": asked},
    ]
    gpt.chat.completions.create(
        model=CLAUDE,
        messages=[
            {"role": "system", "content": content[:1]},
            {"role": "user", "content": content, "name": "ann"},
        ],
        tools=[TOOL],
        parallel_tool_calls=False,
        reasoning_effort="high",
        service_tier="default",
        prompt_cache_key="wheel",
        extra_body={"top_k": 5, "cache_control": {"type": "ephemeral"}},
    )
    body = received(healthy, asked)
    prefix = {"type": "text", "text": "A long prefix.", "cache_control": CACHED}
    assert body["system"] == [prefix]
    said = [prefix | {"text": "ann: A long prefix."}, {"type": "text", "text": asked}]
    assert body["messages"] == [{"role": "user", "content": said}]
    assert body["tools"][0]["strict"] is True
    assert has(
        body,
        {
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            "output_config": {"effort": "high"},
            "service_tier": "standard_only",
            "top_k": 5,
            "cache_control": {"type": "ephemeral"},
        },
    )
    assert "temperature" not in body  # effort and a temperature of ours do not go together
    assert "prompt_cache_key" not in body


def test_anthropics_parameters_reach_anthropics_models(healthy: System, claude: Anthropic) -> None:
    """`cache_control` stays where it was: on the system's text, tools, calls, results and messages."""
    asked = unique("And now?")
    text = {"type": "text", "text": asked, "cache_control": CACHED}
    call = {
        "type": "tool_use",
        "id": "c1",
        "name": "weather",
        "input": {"city": "Ulm"},
        "cache_control": CACHED,
    }
    empty = {"type": "tool_result", "tool_use_id": "c1", "cache_control": CACHED}
    schema = TOOL["function"]["parameters"]
    turns: Any = [
        {"role": "user", "content": "What is the weather in Ulm?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [empty, text]},
    ]
    system: Any = [
        {"type": "text", "text": "Be brief.", "cache_control": CACHED},
        {"type": "text", "text": "Be kind."},
    ]
    tools: Any = [{"name": "weather", "input_schema": schema, "strict": True, "cache_control": CACHED}]
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    claude.messages.create(
        model=CLAUDE, max_tokens=50, system=system, messages=turns, tools=tools, tool_choice=choice,
        service_tier="auto", output_config={"effort": "low"}, extra_body={"top_k": 5},
    )  # fmt: skip
    body = received(healthy, asked)
    assert body["system"] == system
    assert body["tools"] == tools
    assert body["messages"] == [*turns[:2], {"role": "user", "content": [empty | {"content": ""}, text]}]
    assert has(
        body,
        {"tool_choice": choice, "service_tier": "auto", "output_config": {"effort": "low"}, "top_k": 5},
    )


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        (CLAUDE, {"verbosity": "low"}, "verbosity"),
        (CLAUDE, {"frequency_penalty": 0.5}, "frequency_penalty"),
        (CLAUDE, {"service_tier": "flex"}, "service_tier"),
        (CLAUDE, {"reasoning_effort": "minimal"}, "reasoning_effort"),
        (CLAUDE, {"stop": ["\n"]}, "stop[0]"),
        (GPT, {"top_k": 5}, "top_k"),
        (GPT, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        (GPT, {"logprobs": True}, "logprobs"),
        (GPT, {"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        (GPT, {"guided_json": {}}, "guided_json"),
    ],
)
def test_what_a_model_cannot_keep_is_refused_by_name(
    gpt: OpenAI, model: str, fields: dict[str, Any], param: str
) -> None:
    """Before anything is asked."""
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], extra_body=fields
        )
    assert caught.value.param == param
    assert param in caught.value.message


def test_an_answer_to_go_on_with_is_refused_by_every_route(healthy: System, gpt: OpenAI) -> None:
    """Of Anthropic's models, which would prefill it; OpenAI's answer it as any message."""
    asked: Any = [{"role": "user", "content": unique("Who?")}, {"role": "assistant", "content": "It is"}]
    for path, more in (
        ("/v1/chat/completions", {}),
        ("/v1/chat", {"user_id": "u"}),
        ("/v1/messages", {"max_tokens": 9}),
    ):
        refused = healthy.http.post(path, json={"model": CLAUDE, "messages": asked, **more})
        assert (refused.status_code, "the last" in refused.text) == (400, True), refused.text
    assert gpt.chat.completions.create(model=GPT, messages=asked).choices[0].message.content


def test_a_refusal_is_spelled_as_its_sender_spells(claude: Anthropic) -> None:
    """OpenAI's models keep no `top_k`, and have other words for an effort."""
    hello: Any = [{"role": "user", "content": "Hi"}]
    for fields, param in (({"top_k": 5}, "top_k"), ({"stop_sequences": ["a"] * 5}, "stop_sequences")):
        with pytest.raises(anthropic.BadRequestError, match=param) as caught:
            claude.messages.create(model=GPT, max_tokens=5, messages=hello, extra_body=fields)
        assert caught.value.body["error"]["param"] == param  # type: ignore[index]


def test_a_model_that_cannot_keep_a_parameter_does_not_stand_in(healthy: System, gpt: OpenAI) -> None:
    """The fallback is Claude, then a smaller GPT: with a penalty, only the latter is asked."""
    asked = unique("Who answers with a penalty?")
    healthy.behave(faults=[{"kind": "server_error", "rate": 1.0, "model": GPT}])
    answer = gpt.chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": asked}], presence_penalty=0.5
    )
    assert answer.model.startswith("gpt-4o-mini")
    assert {json.loads(body)["model"] for body in healthy.received(asked)} == {GPT, "gpt-4o-mini"}


async def test_kafka_senders_have_the_same_parameters(healthy: System) -> None:
    """In `params`."""
    asked = unique("Which parameters came by Kafka?")
    params = {"presence_penalty": 0.5, "reasoning_effort": "low", "service_tier": "priority"}
    value = {"user_id": "u", "query": asked, "model": GPT, "params": params}
    producer = AIOKafkaProducer(bootstrap_servers=healthy.endpoints.kafka)
    await producer.start()
    try:
        await producer.send_and_wait("llm.requests.v1", value=json.dumps(value).encode())
    finally:
        await producer.stop()
    assert wait_for(lambda: healthy.received(asked), 60)
    assert has(received(healthy, asked), params)
