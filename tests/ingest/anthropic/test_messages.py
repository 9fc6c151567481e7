"""The Anthropic-compatible route, asked by Anthropic's own client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import httpx2
import msgspec
import pytest
from anthropic import AsyncAnthropic

from ingest.follow.reply_hub import ReplyHub
from ingest.main import create_app
from streams.events import CacheControl, Delta, Message, Status, TextPart
from tests.ingest.fakes import KEY, MODEL, Rig, Sent, answered, blocked, failed
from tests.ingest.sse_reader import events

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
TOOL: Any = {"name": "weather", "description": "the weather", "input_schema": {"type": "object"}}
BODY: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": HELLO}


@pytest.fixture
async def sdk(wired: Rig) -> AsyncIterator[AsyncAnthropic]:
    """The official client, as it comes, over the application."""
    transport = httpx2.ASGITransport(create_app(wired.services))
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        AsyncAnthropic(api_key=KEY, base_url="http://ingest", http_client=http, max_retries=0) as client,
    ):
        yield client


async def test_a_message(wired: Rig, sdk: AsyncAnthropic) -> None:
    """Every field the client types is there, and ours are beside them; cached tokens are counted apart."""
    wired.pipeline.replies_with(answered())
    found = await sdk.messages.create(
        **BODY,
        system="Be brief.",
        stop_sequences=["END"],
        metadata={"user_id": "ada"},
        extra_body={"temperature": 0.5, "top_p": 0.9},
    )
    request_id = wired.pipeline.sent[0].key
    assert (found.id, found._request_id) == (f"msg_{request_id}", request_id)
    assert (found.type, found.role, found.model) == ("message", "assistant", MODEL)
    assert [block.to_dict() for block in found.content] == [
        {"type": "text", "text": "Paris is the capital.", "citations": None}
    ]
    assert (found.stop_reason, found.stop_sequence) == ("end_turn", None)
    assert (found.usage.input_tokens, found.usage.cache_read_input_tokens) == (10, 2)
    assert found.usage.output_tokens == 5
    assert found.model_extra is not None
    assert found.model_extra["headrace"]["cost_usd"] == 0.0000048
    sent = wired.pipeline.sent[0].request
    assert sent.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="hello"),
    )
    assert (sent.user_id, sent.model, sent.max_tokens, sent.stop) == ("ada", MODEL, 50, ("END",))
    assert (sent.temperature, sent.top_p, sent.stream) == (0.5, 0.9, False)


async def test_a_stream(wired: Rig, sdk: AsyncAnthropic) -> None:
    """The client's own helper puts the same message together, and its text comes piece by piece."""
    wired.pipeline.replies_with(answered(), (1, 0, "Paris is"), (1, 1, " the"))
    async with sdk.messages.stream(**BODY) as stream:
        texts = [text async for text in stream.text_stream]
        found = await stream.get_final_message()
    assert "".join(texts) == found.content[0].to_dict()["text"] == "Paris is the capital."
    assert found.stop_reason == "end_turn"
    assert (found.usage.input_tokens, found.usage.cache_read_input_tokens) == (10, 2)
    assert found.usage.output_tokens == 5
    assert stream.request_id == wired.pipeline.sent[0].key
    assert wired.pipeline.sent[0].request.stream is True


async def test_the_events_of_a_stream(wired: Rig, client: httpx.AsyncClient) -> None:
    """In Anthropic's order; each names itself twice."""
    wired.pipeline.replies_with(answered(tool_calls=(CALL,), finish_reason="tool_calls"))
    response = await client.post("/v1/messages", json=BODY | {"stream": True})
    read = events(response.text)
    assert [name for name, _ in read] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in read)
    assert [data["index"] for _, data in read if "index" in data] == [0, 0, 0, 1, 1, 1]
    assert read[-2][1]["headrace"]["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_use(wired: Rig, sdk: AsyncAnthropic, stream: bool) -> None:
    """A call is a block with its input as an object, in one piece and as the client puts it together."""
    wired.pipeline.replies_with(answered(content="", finish_reason="tool_calls", tool_calls=(CALL, CALL)))
    choice: Any = {"type": "any"}
    if stream:
        async with sdk.messages.stream(**BODY, tools=[TOOL], tool_choice=choice) as streamed:
            found: Any = await streamed.get_final_message()
    else:
        found = await sdk.messages.create(**BODY, tools=[TOOL], tool_choice=choice)
    assert found.stop_reason == "tool_use"
    assert [(block.type, block.id, block.name, block.input) for block in found.content] == [
        ("tool_use", "call_1", "weather", {"city": "Paris"})
    ] * 2
    sent = wired.pipeline.sent[0].request
    described = {"name": "weather", "description": "the weather", "parameters": {"type": "object"}}
    assert (sent.tools, sent.tool_choice) == (({"type": "function", "function": described},), "required")


@pytest.mark.parametrize(
    "arguments",
    ["{not json", "[1]", "3", '{"a":' + "[" * 5_000 + "]" * 5_000 + "}", '{"a":' + "[" * 70 + "]" * 70 + "}"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_arguments_that_are_no_input(
    wired: Rig, sdk: AsyncAnthropic, stream: bool, arguments: str
) -> None:
    """A model's broken call is an error, never a call with other arguments."""
    call = CALL | {"function": {"name": "weather", "arguments": arguments}}
    wired.pipeline.replies_with(answered(content="", tool_calls=(call,)))
    wanted = "(no JSON object|deeper than 64 levels); ask again. A model was called, and charged"
    with pytest.raises(anthropic.APIStatusError, match=wanted):
        await _ask(sdk, stream=stream)


async def test_a_conversation_with_results(wired: Rig, sdk: AsyncAnthropic) -> None:
    """Each result is a tool message, in order; the client's own blocks can be handed back as they are."""
    wired.pipeline.replies_with(answered(content="Let me see.", tool_calls=(CALL,)))
    first = await sdk.messages.create(**BODY, tools=[TOOL])
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "call_2",
            "content": [{"type": "text", "text": "no such city"}],
        },
        {"type": "tool_result", "tool_use_id": "call_3"},
        {"type": "text", "text": "And", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "tomorrow?"},
    ]
    results[1]["is_error"] = True
    turns: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    system: list[Any] = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    await sdk.messages.create(model=MODEL, max_tokens=50, messages=turns, tools=[TOOL], system=system)
    messages = wired.pipeline.sent[1].request.messages
    assert messages is not None
    assert messages[0].content == (TextPart(text="Be brief."), TextPart(text="Be kind."))
    assert messages[2] == Message(role="assistant", content="Let me see.", tool_calls=(CALL,))
    assert messages[3:] == (
        Message(role="tool", content="sunny", tool_call_id="call_1"),
        Message(role="tool", content="Error: no such city", tool_call_id="call_2"),
        Message(role="tool", content="", tool_call_id="call_3"),
        Message(
            role="user",
            content=(TextPart(text="And", cache_control=CacheControl()), TextPart(text="tomorrow?")),
        ),
    )


@pytest.mark.parametrize(
    ("choice", "ours"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "any", "disable_parallel_tool_use": False}, "required"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
    ],
)
async def test_tool_choice(wired: Rig, sdk: AsyncAnthropic, choice: Any, ours: Any) -> None:
    """Said in OpenAI's terms."""
    wired.pipeline.replies_with(answered())
    await sdk.messages.create(**BODY, tools=[TOOL], tool_choice=choice)
    assert wired.pipeline.sent[0].request.tool_choice == ours


async def test_an_output_format(wired: Rig, sdk: AsyncAnthropic) -> None:
    """A JSON Schema for the answer is the pipeline's response format, which its output check holds to."""
    wired.pipeline.replies_with(answered(content='{"a": 1}'))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    output: Any = {"format": {"type": "json_schema", "schema": schema}}
    await sdk.messages.create(**BODY, output_config=output)
    assert wired.pipeline.sent[0].request.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema},
    }


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("tool_calls", "tool_use"),
        (None, "end_turn"),
        ("something new", "end_turn"),
    ],
)
async def test_stop_reasons(
    wired: Rig, sdk: AsyncAnthropic, finish_reason: str | None, stop_reason: str
) -> None:
    """In Anthropic's words, whatever the provider's."""
    wired.pipeline.replies_with(answered(finish_reason=finish_reason))
    assert (await sdk.messages.create(**BODY)).stop_reason == stop_reason


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_request(wired: Rig, sdk: AsyncAnthropic, stream: bool) -> None:
    """The client's BadRequestError with the reason, whether a stream was wanted or not."""
    wired.pipeline.replies_with(blocked())
    with pytest.raises(anthropic.BadRequestError, match="Potential prompt injection detected") as caught:
        await _ask(sdk, stream=stream)
    assert caught.value.request_id == wired.pipeline.sent[0].key
    assert caught.value.body == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "Potential prompt injection detected",
            "code": "content_filter",
            "param": None,
        },
        "request_id": wired.pipeline.sent[0].key,
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_a_replaced_answer_is_a_refusal(wired: Rig, sdk: AsyncAnthropic, stream: bool) -> None:
    """What the output check put in its place is the content."""
    wired.pipeline.replies_with(
        answered(content="I cannot say that.", status=Status.BLOCKED, finish_reason="content_filter")
    )
    found = await _ask(sdk, stream=stream)
    assert (found.stop_reason, found.content[0].text) == ("refusal", "I cannot say that.")
    assert found.stop_details.explanation


async def test_an_answer_that_is_withdrawn_is_a_refusal(wired: Rig, sdk: AsyncAnthropic) -> None:
    """The stream ends as the client expects, and its usage is what the reply says."""
    replaced = answered(content="I cannot.", status=Status.BLOCKED, finish_reason="content_filter")
    feeding = asyncio.create_task(_feed(wired, replaced, "Lyon"))
    found = await _ask(sdk, stream=True)
    await feeding
    assert (found.stop_reason, found.content[0].text) == ("refusal", "Lyon")
    assert found.usage.output_tokens == 5


async def test_a_stream_is_never_two_answers(wired: Rig, sdk: AsyncAnthropic) -> None:
    """Deltas cannot be taken back: when the answer was replaced, the stream ends with an error."""
    feeding = asyncio.create_task(_feed(wired, answered(content="Paris"), "Lyon"))
    text: list[str] = []

    async def read() -> None:
        async with sdk.messages.stream(**BODY) as stream:
            async for piece in stream.text_stream:
                text.append(piece)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(anthropic.APIStatusError) as caught:
        await read()
    await feeding
    assert "".join(text) == "Lyon"
    assert caught.value.type == "api_error"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["code"] == "answer_replaced"


@pytest.mark.parametrize(
    ("error", "raised", "named"),
    [
        (
            ("invalid_request_error", "context_length_exceeded"),
            anthropic.BadRequestError,
            "invalid_request_error",
        ),
        (("invalid_request_error", "model_not_found"), anthropic.NotFoundError, "not_found_error"),
        (("invalid_request_error", "idempotency_conflict"), anthropic.ConflictError, "conflict_error"),
        (("rate_limit_error", "rate_limit_exceeded"), anthropic.RateLimitError, "rate_limit_error"),
        (("unavailable_error", "dependency_unavailable"), anthropic.InternalServerError, "overloaded_error"),
        (("timeout_error", "deadline_exceeded"), anthropic.InternalServerError, "timeout_error"),
        (("api_error", "internal_error"), anthropic.InternalServerError, "api_error"),
    ],
)
async def test_errors_are_the_clients_own_classes(
    wired: Rig,
    sdk: AsyncAnthropic,
    error: tuple[str, str],
    raised: type[anthropic.APIStatusError],
    named: str,
) -> None:
    """With Anthropic's type and our code readable on them; before the first text, a stream's are the same."""
    wired.pipeline.replies_with(failed(*error))
    for stream in (False, True):
        with pytest.raises(raised) as caught:
            await _ask(sdk, stream=stream)
        assert caught.value.type == named
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"]["code"] == error[1]


async def test_a_failure_in_a_stream(wired: Rig, sdk: AsyncAnthropic) -> None:
    """What fails after the first text is an event, which the client raises."""
    feeding = asyncio.create_task(_feed(wired, failed("rate_limit_error", "rate_limit_exceeded"), "Par"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        await _ask(sdk, stream=True)
    await feeding
    assert caught.value.type == "rate_limit_error"


async def test_a_wrong_key(sdk: AsyncAnthropic) -> None:
    """The client's AuthenticationError."""
    with pytest.raises(anthropic.AuthenticationError) as caught:
        await sdk.with_options(api_key="wrong").messages.create(**BODY)
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id


async def test_an_unknown_model(wired: Rig, sdk: AsyncAnthropic) -> None:
    """The client's NotFoundError, before anything is accepted."""
    with pytest.raises(anthropic.NotFoundError, match="claude-9"):
        await sdk.messages.create(**BODY | {"model": "claude-9"})
    assert wired.pipeline.sent == []


async def test_an_unknown_path_and_method(client: httpx.AsyncClient) -> None:
    """Errors of the router have Anthropic's shape too."""
    for method, path, status in [("POST", "/v1/messages/batches", 404), ("GET", "/v1/messages", 405)]:
        response = await client.request(method, path)
        assert (response.status_code, response.json()["type"]) == (status, "error")


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            "'document' is not supported",
        ),
        ({"system": [{"type": "tool_use"}]}, "system[0].type"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "c", "content": [IMAGE]}],
                    }
                ]
            },
            "'image' is not supported",
        ),
        ({"messages": [*HELLO, {"role": "assistant", "content": "The"}]}, "prefilled"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 20_000}] * 2}]}, "40001"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}] * 101}]},
            "at most 100",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_use", "id": "c", "name": "n", "input": {}}]}
                ]
            },
            "tool_use belongs to the assistant",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
                    *HELLO,
                ]
            },
            "tool_result belongs to the user",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [TOOL]}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1}}, "thinking.budget_tokens"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"top_k": -1}, "top_k"),
        ({"model": "gpt-4o", "top_k": 5}, "top_k"),
        ({"container": "c"}, "container"),
        ({"context_management": {}}, "context_management"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"speed": "fast"}, "speed"),
        ({"output_config": {"effort": "utter"}}, "output_config.effort"),
        ({"output_config": {"task_budget": {"type": "tokens", "total": 9}}}, "output_config.task_budget"),
        ({"diagnostics": {"previous_message_id": "m"}}, "diagnostics"),
        ({"temperature": 1.5}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": ["a"] * 5}, "stop_sequences"),
        ({"stop_sequences": [" "]}, "stop_sequences"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tools": [{"name": "weather"}]}, "input_schema"),
        ({"tools": [TOOL | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [TOOL | {"input_examples": [{}]}]}, "tools[0].input_examples"),
        ({"tools": [TOOL | {"allowed_callers": ["code_execution_20250825"]}]}, "tools[0].allowed_callers"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"beam_width": 3}, "beam_width"),
    ],
)
async def test_what_is_refused_is_named(
    wired: Rig, client: httpx.AsyncClient, fields: dict[str, Any], named: str
) -> None:
    """400 in Anthropic's shape, before anything is accepted."""
    response = await client.post("/v1/messages", json=BODY | fields)
    body = response.json()
    assert (response.status_code, body["type"]) == (400, "error")
    assert body["error"]["type"] == "invalid_request_error"
    assert named in body["error"]["message"]
    assert response.headers["request-id"] == body["request_id"] == response.headers["x-request-id"]
    assert wired.pipeline.sent == []


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
async def test_what_is_required(client: httpx.AsyncClient, missing: str) -> None:
    """As by Anthropic."""
    response = await client.post("/v1/messages", json={k: v for k, v in BODY.items() if k != missing})
    assert (response.status_code, response.json()["error"]["message"]) == (400, f"{missing} is required")


async def test_what_cannot_change_the_answer_is_accepted(wired: Rig, client: httpx.AsyncClient) -> None:
    """The usual values of what is refused otherwise, and hints."""
    wired.pipeline.replies_with(answered())
    response = await client.post(
        "/v1/messages?beta=true",
        json=BODY
        | {
            "cache_control": {"type": "ephemeral"},
            "service_tier": "auto",
            "thinking": {"type": "disabled"},
            "speed": "standard",
            "diagnostics": None,
            "tools": [TOOL | {"type": "custom", "eager_input_streaming": True}],
        },
    )
    assert response.status_code == 200


async def test_the_same_key_is_the_same_request(wired: Rig, sdk: AsyncAnthropic) -> None:
    """`Idempotency-Key` works as on the other routes; another body is the client's ConflictError."""
    wired.pipeline.replies_with(answered())
    headers = {"Idempotency-Key": "k1", "X-Headrace-User": "bob"}
    first = await sdk.messages.create(**BODY, extra_headers=headers)
    assert wired.pipeline.sent[0].request.user_id == "bob"
    wired.registry.settle(msgspec.structs.replace(answered(), request_id=wired.pipeline.sent[0].key))
    second = await sdk.messages.create(**BODY, extra_headers=headers)
    assert (first.id, len(wired.pipeline.sent)) == (second.id, 1)
    with pytest.raises(anthropic.ConflictError):
        await sdk.messages.create(**BODY | {"max_tokens": 51}, extra_headers=headers)


async def _ask(sdk: AsyncAnthropic, *, stream: bool) -> Any:
    if not stream:
        return await sdk.messages.create(**BODY)
    async with sdk.messages.stream(**BODY) as streamed:
        return await streamed.get_final_message()


async def _feed(wired: Rig, reply: Any, text: str) -> None:
    """Send a delta, let it be read, and send the reply."""
    while not wired.pipeline.sent:
        await asyncio.sleep(0)
    sent: Sent = wired.pipeline.sent[0]
    hub: ReplyHub = wired.services.hub
    hub.on_delta(Delta(request_id=sent.key, attempt=1, seq=0, text=text))
    for _ in range(20):
        await asyncio.sleep(0)
    hub.on_reply(msgspec.structs.replace(reply, request_id=sent.key), sent.correlation_id)
