"""What the OpenAI endpoints take: the SDK's own types, and the limits that these do not say."""

from headrace.simulator.request_validation import Limits, RequestType
from headrace.simulator.sdk_types import load_types

_CHAT_LIMITS: Limits = {
    "frequency_penalty": {"ge": -2.0, "le": 2.0},
    "max_completion_tokens": {"ge": 1},
    "max_tokens": {"ge": 1},
    "messages": {"min_length": 1},
    "metadata": {"max_length": 16},
    "presence_penalty": {"ge": -2.0, "le": 2.0},
    "temperature": {"ge": 0.0, "le": 2.0},
    "tools": {"min_length": 1, "max_length": 128},
    "top_p": {"ge": 0.0, "le": 1.0},
}


def _load() -> tuple[RequestType, RequestType]:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase  # noqa: PLC0415
    from openai.types.embedding_create_params import EmbeddingCreateParams  # noqa: PLC0415

    class ChatCompletionBody(CompletionCreateParamsBase, total=False):
        stream: bool | None

    return (
        RequestType(ChatCompletionBody, _CHAT_LIMITS),
        RequestType(EmbeddingCreateParams, {"dimensions": {"ge": 1}}),
    )


CHAT_COMPLETION, EMBEDDINGS = load_types(
    _load,
    "openai",
    "openai.types",
    "openai.types.chat",
    "openai.types.shared",
    "openai.types.shared_params",
)
