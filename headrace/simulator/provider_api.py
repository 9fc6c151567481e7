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
    """One provider's API.

    Attributes:
        id_prefix: What the ids of its chat replies begin with.
        overloaded_status: The HTTP status of an overloaded service.
        api_key: Returns the key in the headers, or an empty string.
        read_chat: Turns body and headers into a task; raises `ErrorReply`.
        whole_reply: Renders a chat reply that does not stream.
        stream_script: Renders one that does.
        error_body: Renders an error, with the id of the request.
        error_event: Renders an error in the middle of a stream.
        broken_event: An event whose JSON is broken.
    """

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
