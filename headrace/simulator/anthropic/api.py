"""What is Anthropic's own: headers, errors, and how messages are read and answered."""

from headrace.simulator.anthropic.message_reply import message_body, message_stream
from headrace.simulator.anthropic.message_request import read_message_request
from headrace.simulator.error_reply import ErrorReply, encode
from headrace.simulator.provider_api import ProviderApi, RequestHeaders, bearer_token
from streams.models import ProviderName

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _api_key(headers: RequestHeaders) -> str:
    return headers.get("x-api-key") or bearer_token(headers)


def _error_body(error: ErrorReply, request_id: str = "") -> bytes:
    named = {"type": _ERROR_TYPES.get(error.status, "api_error"), "message": error.message}
    return encode({"type": "error", "error": named, "request_id": request_id})


ANTHROPIC = ProviderApi(
    provider=ProviderName.ANTHROPIC,
    request_id_header="request-id",
    id_prefix="msg_",
    overloaded_status=529,
    api_key=_api_key,
    read_chat=read_message_request,
    whole_reply=message_body,
    stream_script=message_stream,
    error_body=_error_body,
    error_event=lambda error: b"event: error\ndata: " + _error_body(error) + b"\n\n",
    broken_event=b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n',
)
