"""Chat Completions through the official `openai` client."""

import json
from typing import Any

import httpx
import openai
import pytest

from streams.model_catalogue import MODELS, count_messages, count_text
from tests.headrace.simulator.conftest import Operator

_QUESTION: list[Any] = [{"role": "user", "content": "What is the refund policy for enterprise customers?"}]
_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def _ask(gpt: openai.OpenAI, **changes: Any) -> Any:
    return gpt.chat.completions.create(**{"model": "gpt-4o-mini", "messages": _QUESTION, **changes})


def test_answers_about_the_question_and_says_that_it_is_simulated(gpt: openai.OpenAI) -> None:
    """The answer names a key word of the prompt and is marked as simulated."""
    answer = _ask(gpt).choices[0].message.content
    assert answer.startswith("(simulated)")
    assert "refund" in answer.lower()


def test_same_call_same_answer(gpt: openai.OpenAI) -> None:
    """An answer is a function of the prompt, the model and the seed of the request."""
    calls: dict[str, dict[str, Any]] = {
        "first": {},
        "again": {},
        "model": {"model": "gpt-4o"},
        "seed": {"seed": 5},
        "prompt": {"messages": [{"role": "user", "content": "What is the refund policy for shops?"}]},
    }
    answers = {name: _ask(gpt, **changes).choices[0].message.content for name, changes in calls.items()}
    assert answers["first"] == answers["again"]
    assert len(set(answers.values())) == 4


def test_usage_is_counted_by_the_shared_tokenizer(gpt: openai.OpenAI, operator: Operator) -> None:
    """Usage, price and invoice agree with `streams`."""
    done = _ask(gpt)
    usage = done.usage
    assert usage.prompt_tokens == count_messages(_QUESTION)
    assert usage.completion_tokens == count_text(done.choices[0].message.content)
    price = MODELS["gpt-4o-mini"].cost_usd(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens
    )
    assert operator.billed() | {"at": ""} == {
        "call_id": done.id,
        "provider": "openai",
        "model": "gpt-4o-mini",
        "at": "",
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "service_tier": "standard",
        "usd": f"{price:.9f}",
        "status": "completed",
        "stream": False,
        "client_request_id": None,
    }


def test_stream_is_the_same_answer_in_pieces_with_usage(gpt: openai.OpenAI, operator: Operator) -> None:
    """A stream carries one token a chunk, a finish, and the usage where it is asked for."""
    whole = _ask(gpt)
    chunks = list(_ask(gpt, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content for chunk in chunks[1:-2]]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(texts) == whole.usage.completion_tokens
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1
    assert [item["stream"] for item in operator.invoice()["items"]] == [False, True]


def test_stream_without_usage(gpt: openai.OpenAI) -> None:
    """Nobody gets a usage chunk without asking."""
    assert all(chunk.usage is None and chunk.choices for chunk in _ask(gpt, stream=True))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_token_limit_cuts_the_answer(gpt: openai.OpenAI, *, name: str, stream: bool) -> None:
    """Either limit ends the answer with `length`, in a stream too."""
    done = _ask(gpt, **{name: 5}, stream=stream)
    choices = [chunk.choices[0] for chunk in done] if stream else [done.choices[0]]
    assert choices[-1].finish_reason == "length"
    text = "".join(choice.delta.content or "" for choice in choices) if stream else choices[0].message.content
    assert count_text(text) == 5


def test_stop_sequence_ends_the_answer_before_it(gpt: openai.OpenAI, operator: Operator) -> None:
    """The first of the stop sequences in the answer ends it; it is not part of it."""
    operator.behave(answers=[{"text": "one two three four"}])
    done = _ask(gpt, stop=["four", " three"]).choices[0]
    assert (done.message.content, done.finish_reason) == ("one two", "stop")


def test_json_object(gpt: openai.OpenAI) -> None:
    """JSON mode gives an object, and needs the word in the prompt as the API does."""
    prompt = [{"role": "user", "content": "Describe the invoice as JSON"}]
    done = _ask(gpt, messages=prompt, response_format={"type": "json_object"})
    assert json.loads(done.choices[0].message.content)["simulated"] is True
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        _ask(gpt, response_format={"type": "json_object"})


def test_json_schema_output_conforms(gpt: openai.OpenAI) -> None:
    """Structured output parses into the model that asked for it."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "count": {"type": "integer", "minimum": 3, "maximum": 4},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["name", "count", "kind", "tags", "parent"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    made = json.loads(_ask(gpt, response_format=form).choices[0].message.content)
    assert made["count"] in {3, 4}
    assert made["kind"] in {"a", "b"}
    assert made.keys() == {"name", "count", "kind", "tags", "parent"}


def test_tool_is_called_where_the_question_is_about_it(gpt: openai.OpenAI) -> None:
    """With `auto` a tool is called when the question shares a word with it, with conforming arguments."""
    prompt = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    done = _ask(gpt, messages=prompt, tools=[_WEATHER]).choices[0]
    assert done.finish_reason == "tool_calls"
    assert done.message.content is None
    call = done.message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() <= {"city", "unit"}
    unrelated = _ask(gpt, tools=[_WEATHER]).choices[0]
    assert unrelated.finish_reason == "stop"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_tool_choice_forces_a_call(gpt: openai.OpenAI, choice: Any) -> None:
    """A required or named tool is called whatever the question."""
    done = _ask(gpt, tools=[_WEATHER], tool_choice=choice).choices[0]
    assert done.message.tool_calls[0].function.name == "get_weather"


def test_tool_choice_none(gpt: openai.OpenAI) -> None:
    """`none` forbids calls."""
    prompt = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    assert _ask(gpt, messages=prompt, tools=[_WEATHER], tool_choice="none").choices[0].finish_reason == "stop"


def test_tool_calls_stream_in_pieces(gpt: openai.OpenAI, operator: Operator) -> None:
    """Name and id come first, the arguments follow in pieces, several calls by their index."""
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Lisbon", "Porto")]
    operator.behave(answers=[{"tool_calls": calls, "chunk_chars": [4, 7]}])
    heads: dict[int, Any] = {}
    arguments = {0: "", 1: ""}
    for chunk in _ask(gpt, tools=[_WEATHER], stream=True):
        for call in chunk.choices[0].delta.tool_calls or ():
            if call.id:
                heads[call.index] = (call.id, call.function.name)
            arguments[call.index] += call.function.arguments
    assert [json.loads(text) for text in arguments.values()] == [{"city": "Lisbon"}, {"city": "Porto"}]
    assert len({identity for identity, _ in heads.values()}) == 2
    assert {name for _, name in heads.values()} == {"get_weather"}


def test_tool_loop_ends_in_text(gpt: openai.OpenAI, operator: Operator) -> None:
    """After the results the model answers, and quotes them; no parallel calls where they are off."""
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Lisbon", "Porto")]
    operator.behave(answers=[{"tool_calls": calls}])
    first = _ask(gpt, tools=[_WEATHER], parallel_tool_calls=False).choices[0].message
    assert len(first.tool_calls) == 1
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "23 degrees"}
    done = _ask(gpt, messages=[*_QUESTION, first.to_dict(), result], tools=[_WEATHER]).choices[0]
    assert done.finish_reason == "stop"
    assert "23 degrees" in done.message.content


def test_any_base_path_serves_self_hosted_use(address: str, operator: Operator) -> None:
    """The API answers under other base paths, as a self-hosted server does."""
    for base in ("", "/v1", "/vllm/v1", "/a/b/c"):
        with openai.OpenAI(base_url=address + base, api_key="sk-x", max_retries=0) as client:
            assert _ask(client).object == "chat.completion"


def test_request_id(gpt: openai.OpenAI) -> None:
    """Every reply has an id of its own in its headers."""
    first = gpt.chat.completions.with_raw_response.create(model="gpt-4o", messages=_QUESTION)
    second = gpt.chat.completions.with_raw_response.create(model="gpt-4o", messages=_QUESTION)
    assert first.request_id == first.headers["x-request-id"] != second.headers["x-request-id"]


def test_anthropic_model_is_unknown_here(gpt: openai.OpenAI) -> None:
    """Each provider serves its own models only."""
    with pytest.raises(openai.NotFoundError):
        _ask(gpt, model="claude-3-opus")


def test_unknown_url_answers_in_the_api_s_shape(operator: Operator) -> None:
    """A wrong path or method is a 404 or 405 with an error object."""
    assert operator.http.get("/v1/nothing").json()["error"]["type"] == "invalid_request_error"
    assert operator.http.get("/v1/chat/completions").status_code == 405
    response: httpx.Response = operator.http.get("/v1/nothing", headers={"anthropic-version": "2023-06-01"})
    assert response.json()["type"] == "error"
