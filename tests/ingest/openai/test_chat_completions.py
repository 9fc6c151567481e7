"""The OpenAI-compatible routes, asked by OpenAI's own client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from ingest.main import create_app
from streams.events import MAX_DEADLINE_MS, Delta, ErrorInfo, Status
from tests.ingest.fakes import KEY, MODEL, Rig, answered, blocked, failed
from tests.ingest.sse_reader import events

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Capital(BaseModel):
    """What an answer is to look like."""

    city: str


@pytest.fixture
async def sdk(wired: Rig) -> AsyncIterator[AsyncOpenAI]:
    """The official client, as it comes, over the application."""
    transport = httpx2.ASGITransport(create_app(wired.services))
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        AsyncOpenAI(api_key=KEY, base_url="http://ingest/v1", http_client=http, max_retries=0) as client,
    ):
        yield client


async def test_a_completion(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Every field the client types is there, and ours are beside them."""
    wired.pipeline.replies_with(answered())
    raw = await sdk.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, user="ada", max_completion_tokens=50, metadata={"a": "b"}
    )
    found = raw.parse()
    request_id = wired.pipeline.sent[0].key
    assert found.id == f"chatcmpl-{request_id}"
    assert raw.headers["x-request-id"] == request_id
    assert found.choices[0].message.content == "Paris is the capital."
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (12, 5, 17)
    assert found.usage.prompt_tokens_details is not None
    assert found.usage.prompt_tokens_details.cached_tokens == 2
    extension = found.model_extra["headrace"] if found.model_extra else {}
    assert (extension["status"], extension["cost_usd"], extension["cache_hit"]) == (
        "answered",
        0.0000048,
        False,
    )
    sent = wired.pipeline.sent[0].request
    assert (sent.user_id, sent.max_tokens, sent.metadata, sent.stream) == ("ada", 50, {"a": "b"}, False)


async def test_a_stream(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Role, content, finish reason and usage, each where the client expects it."""
    wired.pipeline.replies_with(answered(), (1, 0, "Paris is"), (1, 1, " the"))
    stream = await sdk.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Paris is the capital."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 17
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{wired.pipeline.sent[0].key}"}


async def test_a_stream_without_usage_has_none(wired: Rig, sdk: AsyncOpenAI) -> None:
    """The usage chunk has no choices, and clients that did not ask for it trip over it."""
    wired.pipeline.replies_with(answered())
    stream = await sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in [chunk async for chunk in stream])


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls(wired: Rig, sdk: AsyncOpenAI, stream: bool) -> None:
    """In one piece and as the SDK's own helper puts a stream together."""
    wired.pipeline.replies_with(answered(content="", finish_reason="tool_calls", tool_calls=(CALL,)))
    if stream:
        async with sdk.chat.completions.stream(model=MODEL, messages=HELLO, tools=[TOOL]) as streamed:
            choice: Any = (await streamed.get_final_completion()).choices[0]
    else:
        choice = (await sdk.chat.completions.create(model=MODEL, messages=HELLO, tools=[TOOL])).choices[0]
        assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.name == "weather"
    assert choice.message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    assert choice.message.tool_calls[0].id == "call_1"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_request(wired: Rig, sdk: AsyncOpenAI, stream: bool) -> None:
    """A 400 with OpenAI's code, whether a stream was wanted or not."""
    wired.pipeline.replies_with(blocked())
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=stream)
    assert (caught.value.code, caught.value.type) == ("content_filter", "invalid_request_error")
    assert "Potential prompt injection detected" in str(caught.value)
    assert caught.value.request_id == wired.pipeline.sent[0].key


async def test_a_replaced_answer_says_content_filter(wired: Rig, sdk: AsyncOpenAI) -> None:
    """What the output check put in its place is the content."""
    wired.pipeline.replies_with(
        answered(content="I cannot say that.", status=Status.BLOCKED, finish_reason="content_filter")
    )
    found = await sdk.chat.completions.create(model=MODEL, messages=HELLO)
    assert found.choices[0].finish_reason == "content_filter"
    assert found.choices[0].message.content == "I cannot say that."


async def test_a_degraded_answer_says_so(wired: Rig, sdk: AsyncOpenAI) -> None:
    """200 with the apology; the reason is in our extension."""
    error = ErrorInfo(type="api_error", code="all_models_failed", message="none answered")
    wired.pipeline.replies_with(answered(content="I apologize.", status=Status.DEGRADED, error=error))
    found = await sdk.chat.completions.create(model=MODEL, messages=HELLO)
    assert found.choices[0].message.content == "I apologize."
    extension = found.model_extra["headrace"] if found.model_extra else {}
    assert (extension["status"], extension["error"]["code"]) == ("degraded", "all_models_failed")


@pytest.mark.parametrize(
    ("kind", "code", "raised"),
    [
        ("invalid_request_error", "context_length_exceeded", openai.BadRequestError),
        ("invalid_request_error", "model_not_found", openai.NotFoundError),
        ("invalid_request_error", "idempotency_conflict", openai.ConflictError),
        ("rate_limit_error", "rate_limit_exceeded", openai.RateLimitError),
        ("unavailable_error", "dependency_unavailable", openai.InternalServerError),
        ("timeout_error", "deadline_exceeded", openai.InternalServerError),
        ("api_error", "internal_error", openai.InternalServerError),
    ],
)
async def test_errors_are_the_clients_own_classes(
    wired: Rig, sdk: AsyncOpenAI, kind: str, code: str, raised: type[openai.APIStatusError]
) -> None:
    """With our type and code readable on them."""
    wired.pipeline.replies_with(failed(kind, code))
    with pytest.raises(raised) as caught:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO)
    assert (caught.value.type, caught.value.code) == (kind, code)


async def test_a_wrong_key(sdk: AsyncOpenAI) -> None:
    """The client's AuthenticationError."""
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="wrong").chat.completions.create(model=MODEL, messages=HELLO)


async def test_an_unknown_model(wired: Rig, sdk: AsyncOpenAI) -> None:
    """The client's NotFoundError, before anything is accepted."""
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert wired.pipeline.sent == []


async def test_a_stream_is_never_two_answers(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Chunks cannot be taken back: when the answer was replaced, the stream ends with an error."""

    async def feed() -> None:
        while not wired.pipeline.sent:
            await asyncio.sleep(0)
        sent, hub = wired.pipeline.sent[0], wired.services.hub
        hub.on_delta(Delta(request_id=sent.key, attempt=1, seq=0, text="Lyon"))
        for _ in range(10):
            await asyncio.sleep(0)
        hub.on_reply(answered(sent.key, "Paris"), sent.correlation_id)

    feeding = asyncio.create_task(feed())
    stream = await sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    text: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            text.append(chunk.choices[0].delta.content or "")  # noqa: PERF401  # what came before the error counts

    with pytest.raises(openai.APIError) as caught:
        await read()
    await feeding
    assert "".join(text) == "Lyon"
    assert caught.value.code == "answer_replaced"


async def test_headers_of_the_openai_route(wired: Rig, sdk: AsyncOpenAI) -> None:
    """User and deadline have no field in OpenAI's body that says the same."""
    wired.pipeline.replies_with(answered())
    headers = {"X-Headrace-User": "bob", "X-Headrace-Deadline-Ms": "1234"}
    await sdk.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers)
    sent = wired.pipeline.sent[0].request
    assert (sent.user_id, sent.deadline_ms) == ("bob", 1234)


@pytest.mark.parametrize("value", ["0", str(MAX_DEADLINE_MS + 1), "soon", "-5", "1.5", "٣"])
async def test_a_wrong_deadline_header(client: httpx.AsyncClient, value: str) -> None:
    """400 that names the header."""
    response = await client.post(
        "/v1/chat/completions",
        json={"messages": HELLO},
        headers=[(b"X-Headrace-Deadline-Ms", value.encode())],
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "X-Headrace-Deadline-Ms")


async def test_the_course_route_adds_its_flat_fields(wired: Rig, client: httpx.AsyncClient) -> None:
    """One body for both kinds of client."""
    wired.pipeline.replies_with(answered())
    body = (await client.post("/api/v1/chat/completions", json={"messages": HELLO})).json()
    assert body["choices"][0]["message"]["content"] == body["content"] == "Paris is the capital."
    assert (body["usage"]["input_tokens"], body["usage"]["prompt_tokens"]) == (12, 12)
    assert body["latency_ms"] > 0


async def test_the_course_stream_route_streams(wired: Rig, client: httpx.AsyncClient) -> None:
    """Without `stream` in the body."""
    wired.pipeline.replies_with(answered())
    response = await client.post("/api/v1/chat/completions/stream", json={"messages": HELLO})
    read = events(response.text)
    assert read[-1] == ("message", "[DONE]")
    assert "".join(data["choices"][0]["delta"].get("content", "") for _, data in read[:-1]) == (
        "Paris is the capital."
    )
    assert wired.pipeline.sent[0].request.stream is True


async def test_every_parameter_that_is_kept(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Each of them reaches the pipeline as it was given."""
    wired.pipeline.replies_with(answered())
    schema: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    choice: Any = {"type": "function", "function": {"name": "weather"}}
    await sdk.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        temperature=1.5,
        top_p=0.5,
        n=1,
        stop=["a", "b"],
        seed=7,
        user="ada",
        metadata={"team": "blue"},
        max_completion_tokens=20,
        response_format=schema,
        tools=[TOOL],
        tool_choice=choice,
        parallel_tool_calls=True,
        logprobs=False,
        store=False,
        service_tier="auto",
        prompt_cache_key="k",
        safety_identifier="s",
        presence_penalty=0,
        frequency_penalty=0,
        modalities=["text"],
    )
    sent = wired.pipeline.sent[0].request
    assert (sent.temperature, sent.top_p, sent.stop, sent.seed) == (1.5, 0.5, ("a", "b"), 7)
    assert (sent.user_id, sent.metadata, sent.max_tokens) == ("ada", {"team": "blue"}, 20)
    assert (sent.response_format, sent.tools, sent.tool_choice) == (schema, (TOOL,), choice)


async def test_a_stop_sequence_alone(wired: Rig, sdk: AsyncOpenAI) -> None:
    """OpenAI takes a string for a list of one."""
    wired.pipeline.replies_with(answered())
    await sdk.chat.completions.create(model=MODEL, messages=HELLO, stop="END")
    assert wired.pipeline.sent[0].request.stop == ("END",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
async def test_what_is_not_supported_is_refused_by_name(
    wired: Rig, sdk: AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    """The client's BadRequestError with the parameter, before anything is accepted."""
    with pytest.raises(openai.BadRequestError, match=param) as caught:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO, extra_body=fields)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    assert wired.pipeline.sent == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"temperature": 2.5}, "temperature"),
        ({"messages": []}, "messages"),
        ({"shiny": 1}, "shiny"),
    ],
)
async def test_what_is_wrong_is_named(sdk: AsyncOpenAI, fields: dict[str, Any], param: str) -> None:
    """The client's BadRequestError, with the place on it."""
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO, extra_body=fields)
    assert caught.value.param == param


async def test_a_conversation_with_tool_results(wired: Rig, sdk: AsyncOpenAI) -> None:
    """The client's own message is handed back as it is, with all of its empty fields."""
    wired.pipeline.replies_with(answered(content="", finish_reason="tool_calls", tool_calls=(CALL,)))
    first: Any = await sdk.chat.completions.create(model=MODEL, messages=HELLO, tools=[TOOL])
    turns: list[Any] = [
        *HELLO,
        first.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    wired.pipeline.replies_with(answered(content="Sunny."))
    second = await sdk.chat.completions.create(model=MODEL, messages=turns, tools=[TOOL])
    assert second.choices[0].message.content == "Sunny."
    messages = wired.pipeline.sent[1].request.messages
    assert messages is not None
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    assert messages[1].tool_calls is not None
    assert messages[1].tool_calls[0]["function"] == CALL["function"]


async def test_a_parsed_message_goes_back_as_it_is(wired: Rig, sdk: AsyncOpenAI) -> None:
    """What the client's stream helper adds to a call is no part of OpenAI's API."""
    wired.pipeline.replies_with(answered(content="", finish_reason="tool_calls", tool_calls=(CALL,)))
    async with sdk.chat.completions.stream(model=MODEL, messages=HELLO, tools=[TOOL]) as streamed:
        first: Any = (await streamed.get_final_completion()).choices[0].message
    turns: list[Any] = [*HELLO, first, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    await sdk.chat.completions.create(model=MODEL, messages=turns, tools=[TOOL])
    messages = wired.pipeline.sent[1].request.messages
    assert messages is not None
    assert messages[1].tool_calls == (CALL,)


async def test_streamed_tool_calls_with_usage(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Each call has its index, its id and all of its arguments; the usage is last and alone."""
    other = CALL | {"id": "call_2"}
    wired.pipeline.replies_with(
        answered(content="Well.", finish_reason="tool_calls", tool_calls=(CALL, other))
    )
    stream = await sdk.chat.completions.create(
        model=MODEL, messages=HELLO, tools=[TOOL], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.id) for call in calls] == [(0, "call_1"), (1, "call_2")]
    assert [call.function.arguments for call in calls if call.function] == ['{"city":"Paris"}'] * 2
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_the_clients_parsing(wired: Rig, sdk: AsyncOpenAI) -> None:
    """`parse` sends a JSON Schema made of a pydantic model, and gets an instance of it."""
    wired.pipeline.replies_with(answered(content='{"city": "Paris"}'))
    found = await sdk.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Capital)
    assert found.choices[0].message.parsed == Capital(city="Paris")


async def test_a_conflict(wired: Rig, sdk: AsyncOpenAI) -> None:
    """The same key with another body is the client's ConflictError."""
    wired.pipeline.replies_with(answered())
    headers = {"Idempotency-Key": "k1"}
    await sdk.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers)
    with pytest.raises(openai.ConflictError) as caught:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO, seed=1, extra_headers=headers)
    assert caught.value.code == "idempotency_conflict"


async def test_an_outage(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Nothing was accepted, and the client's InternalServerError says when to try again."""
    wired.pipeline.broken = True
    with pytest.raises(openai.InternalServerError) as caught:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "1")
