"""The body of Anthropic's Messages, and what of it the pipeline can keep.

As with OpenAI's body: what would change the answer and is not supported is refused by name, what cannot
change it is accepted. `cache_control` is of the latter kind: it is about a provider's price, and what the
providers cache by themselves is in the usage.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ingest.body import decode_body
from ingest.errors import ApiError, invalid
from ingest.schemas import CacheWish, Content, StopSequence, TopP
from streams.events import Name
from streams.request_rules import MAX_MESSAGES, MAX_STOP_SEQUENCES

Temperature = Annotated[float, Meta(ge=0.0, le=1.0)]

_BLOCK_TYPE = re.compile(r"(content|system)\[\d+\]\.type$")
_REFUSED_TYPE = re.compile(r"invalid value '([^']{1,64})'")


class TextBlock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A block of text."""

    text: Content
    cache_control: Any = None
    citations: Any = None  # part of our own answers, and always null there


class ToolUseBlock(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="tool_use"
):
    """A call that the model has made, handed back to it."""

    id: Name
    name: Name
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None
    toolset_name: Any = None


class ToolResultBlock(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="tool_result"
):
    """What came of a call."""

    tool_use_id: Name
    content: Content | tuple[TextBlock, ...] | None = None
    is_error: bool | None = None
    cache_control: Any = None
    toolset_name: Any = None


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
    # Accepted: they cannot change the answer.
    cache_control: Any = None
    eager_input_streaming: bool | None = None
    # Accepted at the value that means "as usual", refused otherwise.
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: tuple[str, ...] | None = None
    # Refused.
    input_examples: Any = None


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
    effort: Any = None


class MessagesBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/messages` takes."""

    model: Name
    max_tokens: int
    messages: Annotated[tuple[Turn, ...], Meta(min_length=1, max_length=MAX_MESSAGES)]
    system: Content | tuple[TextBlock, ...] | None = None
    stop_sequences: tuple[StopSequence, ...] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    # Ours, which no provider gets.
    headrace_cache: CacheWish | None = None
    # Accepted: they cannot change the answer.
    cache_control: Any = None
    diagnostics: Any = None
    service_tier: Any = None
    # Accepted at the value that means "as usual", refused otherwise.
    thinking: dict[str, Any] | None = None
    speed: str | None = None
    # Refused.
    top_k: Any = None
    container: Any = None
    context_management: Any = None
    inference_geo: Any = None
    mcp_servers: Any = None


_REFUSED = {
    "top_k": "use top_p",
    "container": "there is no code execution",
    "context_management": "send the messages that the model is to see",
    "inference_geo": "where models run is the operator's choice",
    "mcp_servers": "offer their tools in tools, and call them yourself",
}


def decode_messages(data: bytes) -> MessagesBody:
    """Return the body of a Messages request, all of which can be kept.

    Raises:
        ApiError: 400, not JSON, not what is expected, or not supported; `param` says where.
    """
    try:
        body = decode_body(data, MessagesBody)
    except ApiError as fault:
        raise _with_block_named(fault) from None
    _refuse_unsupported(body)
    return body


def decode_tool(raw: dict[str, Any], where: str) -> CustomTool:
    """Return a tool's definition.

    Raises:
        ApiError: 400, it is a tool of Anthropic's, or not a complete definition.
    """
    kind = raw.get("type")
    if kind not in (None, "custom"):
        raise unsupported(f"{where}.type", f"{where}: the tool type {str(kind)[:64]!r} is not supported")
    try:
        tool = msgspec.convert(raw, CustomTool)
    except msgspec.ValidationError as fault:
        raise invalid(f"{where}: {fault}", param=where) from None
    for name, wrong, why in _unusual(tool):
        if wrong:
            raise unsupported(f"{where}.{name}", f"{where}.{name}: {why}")
    return tool


def unsupported(param: str, message: str) -> ApiError:
    """Return the error for what Anthropic has and Headrace has not."""
    return invalid(message, param=param, code="unsupported_parameter")


def _unusual(tool: CustomTool) -> list[tuple[str, bool, str]]:
    return [
        ("strict", bool(tool.strict), "inputs are not checked against the schema; leave strict out"),
        ("defer_loading", bool(tool.defer_loading), "there is no tool search"),
        ("allowed_callers", tool.allowed_callers not in (None, ("direct",)), 'only "direct" is supported'),
        ("input_examples", bool(tool.input_examples), "examples are not supported: put them in description"),
    ]


def _refuse_unsupported(body: MessagesBody) -> None:
    for name, why in _REFUSED.items():
        if getattr(body, name) is not None:
            raise unsupported(name, f"{name} is not supported: {why}")
    if body.thinking is not None and body.thinking.get("type") != "disabled":
        raise unsupported("thinking", "thinking is not supported: leave it out, or disable it")
    if body.speed not in (None, "standard"):
        raise unsupported("speed", 'only the speed "standard" is supported')
    if body.output_config is not None and body.output_config.effort is not None:
        raise unsupported("output_config.effort", "effort is not supported")
    if body.stop_sequences and len(body.stop_sequences) > MAX_STOP_SEQUENCES:
        raise invalid(
            f"stop_sequences must have at most {MAX_STOP_SEQUENCES} sequences", param="stop_sequences"
        )
    if any(not sequence.strip() for sequence in body.stop_sequences or ()):
        raise invalid("stop_sequences must not be white space alone", param="stop_sequences")


def _with_block_named(fault: ApiError) -> ApiError:
    param = fault.error.param or ""
    found = _REFUSED_TYPE.search(str(fault))
    if not (found and _BLOCK_TYPE.search(param)):
        return fault
    known = "text, tool_use and tool_result" if param.startswith("messages") else "text"
    return unsupported(param, f"{param}: {found[1]!r} is not supported here; {known} blocks are")
