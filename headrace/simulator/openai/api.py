"""What is OpenAI's own: headers, errors, and how chat calls are read and answered."""

from headrace.simulator.error_reply import ErrorReply, encode
from headrace.simulator.openai.chat_reply import completion_body, completion_stream
from headrace.simulator.openai.chat_request import read_chat_request
from headrace.simulator.provider_api import ProviderApi, bearer_token
from streams.models import ProviderName


def _error_body(error: ErrorReply, request_id: str = "") -> bytes:  # noqa: ARG001  (it is in the header)
    named = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    return encode({"error": named})


OPENAI = ProviderApi(
    provider=ProviderName.OPENAI,
    request_id_header="x-request-id",
    id_prefix="chatcmpl-",
    overloaded_status=503,
    api_key=bearer_token,
    read_chat=lambda body, _headers: read_chat_request(body),
    whole_reply=completion_body,
    stream_script=completion_stream,
    error_body=_error_body,
    error_event=lambda error: b"data: " + _error_body(error) + b"\n\n",
    broken_event=b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"ind\n\n',
)
