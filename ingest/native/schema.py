"""The bodies of the native routes. Tenant and tier never come from a body, but from the API key."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from ingest.submit.http_message import OnDisconnect
from streams.errors import InvalidRequest
from streams.events import MAX_DEADLINE_MS, ChatRequested, Message, Name, Webhook
from streams.request_rules.cache_directives import MAX_DIRECTIVES_CHARS
from streams.request_rules.chat import MAX_CONTENT_CHARS, MAX_STOP_CHARS
from streams.request_rules.faults import UNSUPPORTED
from streams.request_rules.sent_requests import SentMessage, SentMessages

Content = Annotated[str, Meta(max_length=MAX_CONTENT_CHARS)]
Temperature = Annotated[float, Meta(ge=0.0, le=2.0)]
MaxTokens = Annotated[int, Meta(ge=1)]
TopP = Annotated[float, Meta(ge=0.0, le=1.0)]
DeadlineMs = Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS, description="how long the answer may take, in ms")]
DisconnectPolicy = Annotated[
    OnDisconnect,
    Meta(description="what becomes of the request if the client leaves before its answer is there"),
]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
StopSequence = Annotated[str, Meta(min_length=1, max_length=MAX_STOP_CHARS)]
CacheWish = Annotated[
    str,
    Meta(
        max_length=MAX_DIRECTIVES_CHARS,
        description="how the answer cache may be used, as in Cache-Control: no-cache, no-store, max-age=60",
    ),
]


class ChatBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/chat` takes: either `query` or `messages`."""

    query: Content | None = None
    user_id: Name
    template: Name | None = None
    variables: dict[str, Content] | None = None
    messages: SentMessages | None = None
    stream: bool = False
    session_id: Name | None = None
    model: Name | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    stop: tuple[StopSequence, ...] | None = None
    seed: Seed | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    deadline_ms: DeadlineMs | None = None
    on_disconnect: DisconnectPolicy | None = None
    metadata: dict[str, Any] | None = None
    headrace_cache: CacheWish | None = None


class WebhookBody(Webhook, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the end of a request is reported."""


class SubmitBody(ChatBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/requests` takes: also a webhook, because no client waits for the answer."""

    webhook: WebhookBody | None = None


def native_request(body: ChatBody) -> ChatRequested:
    """Return the event for a native body; raises as `as_messages`."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return ChatRequested(**fields | {"messages": as_messages(body.messages)})


def as_messages(sent: Sequence[SentMessage] | None) -> tuple[Message, ...] | None:
    """Return messages as the pipeline knows them; `InvalidRequest` for a refusal beside the content."""
    if sent is None:
        return None
    found = []
    for index, message in enumerate(sent):
        try:
            found.append(message.as_message())
        except InvalidRequest as fault:
            where = f"messages[{index}].{fault.param}"
            raise InvalidRequest(fault.message, param=where, code=UNSUPPORTED) from None
    return tuple(found)
