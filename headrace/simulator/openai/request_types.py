"""What the OpenAI endpoints take: the SDK's own types, and the limits that these do not say.

Importing this loads the SDK (about half a second), so it is imported at the first call.
"""

from typing import Final

from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.embedding_create_params import EmbeddingCreateParams

from headrace.simulator.request_validation import RequestType


class _ChatCompletionBody(CompletionCreateParamsBase, total=False):
    stream: bool | None


CHAT_COMPLETION: Final = RequestType(
    _ChatCompletionBody,
    limits={
        "frequency_penalty": {"ge": -2.0, "le": 2.0},
        "max_completion_tokens": {"ge": 1},
        "max_tokens": {"ge": 1},
        "messages": {"min_length": 1},
        "metadata": {"max_length": 16},
        "presence_penalty": {"ge": -2.0, "le": 2.0},
        "temperature": {"ge": 0.0, "le": 2.0},
        "tools": {"min_length": 1, "max_length": 128},
        "top_p": {"ge": 0.0, "le": 1.0},
    },
)
EMBEDDINGS: Final = RequestType(EmbeddingCreateParams, limits={"dimensions": {"ge": 1}})
