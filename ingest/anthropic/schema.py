"""The body of Anthropic's Messages.

What becomes of each parameter is in `streams.request_rules.parameter_table`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ingest.native.schema import CacheWish, Content, MaxTokens, StopSequence, TopP
from ingest.submit.http_message import decode_body
from streams.errors import InvalidRequest
from streams.events import Name
from streams.request_rules.chat import MAX_MESSAGES, MAX_STOP_SEQUENCES
from streams.request_rules.faults import ANY_FIELD, check_at_most, unsupported
from streams.request_rules.parameter_table import ANTHROPIC_PATHS
from streams.request_rules.parameters import (
    UNKNOWN_HINT,
    Beta,
    ThinkingAdaptive,
    ThinkingDisabled,
    ThinkingEnabled,
)
from streams.request_rules.sent_requests import SentCacheControl

Temperature = Annotated[float, Meta(ge=0.0, le=1.0)]


class TextBlock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A block of text."""

    text: Content
    cache_control: SentCacheControl | None = None
    citations: None = None  # part of our own answers, and always null there


class DirectCaller(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who has called a tool: the model, and no code that runs for it."""

    type: Literal["direct"]


class ToolUseBlock(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="tool_use"
):
    """A call that the model has made, handed back to it."""

    id: Name
    name: Name
    input: dict[str, Any]
    cache_control: SentCacheControl | None = None
    caller: DirectCaller | None = None
    toolset_name: None = None


class ToolResultBlock(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="tool_result"
):
    """What came of a call."""

    tool_use_id: Name
    content: Content | tuple[TextBlock, ...] | None = None
    is_error: bool | None = None
    cache_control: SentCacheControl | None = None
    toolset_name: None = None


Block = TextBlock | ToolUseBlock | ToolResultBlock


class Turn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message."""

    role: Literal["user", "assistant"]
    content: Content | tuple[Block, ...]


class CustomTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool that the client runs."""

    name: Name
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: Content | None = None
    strict: bool | None = None
    cache_control: SentCacheControl | None = None
    eager_input_streaming: bool | None = None
    # Accepted at the value that means "as usual", refused otherwise.
    defer_loading: bool | None = None
    allowed_callers: tuple[str, ...] | None = None
    # Refused.
    input_examples: None = None


class ToolChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the model may or must call tools, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks, in the client's own terms."""

    user_id: Name | None = None


class OutputFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON Schema that the answer must have."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the answer is to look."""

    format: OutputFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    task_budget: None = None


class MessagesBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/messages` takes."""

    model: Name
    max_tokens: MaxTokens
    messages: Annotated[tuple[Turn, ...], Meta(min_length=1, max_length=MAX_MESSAGES)]
    system: Content | tuple[TextBlock, ...] | None = None
    stop_sequences: tuple[StopSequence, ...] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    tools: tuple[CustomTool, ...] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    # Ours, which no provider gets.
    headrace_cache: CacheWish | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: SentCacheControl | None = None
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    betas: tuple[Beta, ...] | None = None
    # Accepted at the value that means "as usual".
    speed: Literal["standard"] | None = None
    # Refused.
    container: None = None
    context_management: None = None
    diagnostics: None = None
    inference_geo: None = None
    mcp_servers: None = None
    user_profile_id: None = None
    workspace_id: None = None


def decode_messages(data: bytes) -> MessagesBody:
    """Return the body of a Messages request, as `decode_body`; `InvalidRequest` for what is not supported."""
    body = decode_body(data, MessagesBody, table=ANTHROPIC_PATHS, hints={ANY_FIELD: UNKNOWN_HINT})
    stop = body.stop_sequences or ()
    check_at_most(len(stop), MAX_STOP_SEQUENCES, "stop_sequences")
    for index, tool in enumerate(body.tools or ()):
        unusual = {
            "defer_loading": bool(tool.defer_loading),
            "allowed_callers": tool.allowed_callers not in (None, ("direct",)),
        }
        for name, wrong in unusual.items():
            if wrong:
                why = ANTHROPIC_PATHS[f"tools[]<custom>.{name}"].to_openai.note
                raise unsupported(f"tools[{index}].{name}", why)
    if any(not sequence.strip() for sequence in stop):
        raise InvalidRequest("stop_sequences must not be white space alone", param="stop_sequences")
    return body
