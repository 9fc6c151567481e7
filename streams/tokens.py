"""Token counts before a provider has said its own.

The count follows OpenAI's published rule for chat messages (the cookbook's "How to count tokens"):
three tokens a message, one for a name, three to prime the reply, text by o200k_base. For other
providers' tokenizers it is an estimate; limits use it, prices never do where a provider reports usage.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Protocol

import msgspec
from rs_bpe import openai

_TOKENS_PER_MESSAGE = 3
_TOKENS_TO_PRIME_REPLY = 3


class _Tokenizer(Protocol):
    def count(self, text: str) -> int: ...


@cache
def _o200k() -> _Tokenizer:
    tokenizer: _Tokenizer = openai.o200k_base()
    return tokenizer


def count_text(text: str) -> int:
    """Return the number of o200k_base tokens in `text`."""
    return _o200k().count(text)


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
