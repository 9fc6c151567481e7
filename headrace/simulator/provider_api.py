"""What tells the two chat APIs apart, so that serving a call is one path."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.simulator.error_reply import ErrorReply
from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import Generation
from headrace.simulator.generation.stream_script import ReplyHead, StreamScript
from streams.models import ProviderName

RequestHeaders = Mapping[str, str]
ChunkChars = int | list[int] | None


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
