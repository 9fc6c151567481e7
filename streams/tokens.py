"""Token counts by our own count, for limits. Prices use what the provider reports.

It follows OpenAI's rule for chat messages (the cookbook's "How to count tokens"): three tokens per message,
one for a name, three for the reply, text by o200k_base. For other providers' tokenizers it is an estimate.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from rs_bpe import openai

_TOKENS_PER_MESSAGE = 3
_TOKENS_TO_PRIME_REPLY = 3


@cache
def _o200k() -> Any:
    return openai.o200k_base()


def count_text(text: str) -> int:
    """Return the number of o200k_base tokens in `text`."""
    return int(_o200k().count(text))


def count_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the number of input tokens of chat messages in OpenAI's wire shape."""
    total = _TOKENS_TO_PRIME_REPLY
    for message in messages:
        total += _TOKENS_PER_MESSAGE
        for key, value in message.items():
            if value is None:
                continue
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            total += count_text(text) + (1 if key == "name" else 0)
    return total
