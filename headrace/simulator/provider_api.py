"""What tells the two chat APIs apart, so that serving a call is one path."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import ChunkChars, Generation
from headrace.simulator.request_validation import ErrorReply
from streams.models import ProviderName

RequestHeaders = Mapping[str, str]


class ReplyHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says besides its content: its id, when it was made (Unix seconds), the cached input."""

    call_id: str
    created: int
    cached_tokens: int


class StreamFrame(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a stream: its bytes and the part of the output in them, by block."""

    data: bytes
    block: int
    text: str


class StreamScript(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one stream: what opens it, its chunks, and what ends it."""

    opening: bytes
    frames: tuple[StreamFrame, ...]
    closing: bytes


class ProviderApi(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's API."""

    provider: ProviderName
    request_id_header: str
    id_prefix: str
    overloaded_status: int
    api_key: Callable[[RequestHeaders], str]
    read_chat: Callable[[Any, RequestHeaders], ChatTask]
    whole_reply: Callable[[ChatTask, Generation, ReplyHead], bytes]
    stream_script: Callable[[ChatTask, Generation, ReplyHead, ChunkChars], StreamScript]
    error_body: Callable[[ErrorReply, str], bytes]
    error_event: Callable[[ErrorReply], bytes]
    broken_event: bytes


def bearer_token(headers: RequestHeaders) -> str:
    """Return the token of `Authorization: Bearer TOKEN`, or an empty string."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
