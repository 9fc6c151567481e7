"""Cuts texts at token boundaries: at a limit of tokens, and into the chunks of a stream."""

from functools import cache
from typing import Protocol

from rs_bpe import openai


class _O200kTokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int]) -> str | None: ...


@cache
def _o200k() -> _O200kTokenizer:
    tokenizer: _O200kTokenizer = openai.o200k_base()
    return tokenizer


def first_tokens(text: str, max_tokens: int) -> str:
    """Return the longest beginning of the text that is whole tokens and at most `max_tokens`."""
    if len(text.encode()) <= max_tokens:  # a token has at least one byte
        return text
    tokens = _o200k().encode(text)
    if len(tokens) <= max_tokens:
        return text
    for count in range(max_tokens, 0, -1):
        kept = _o200k().decode(tokens[:count])
        if kept is not None:  # the tokens do not end within a character
            return kept
    return ""


def pieces(text: str, chunk_chars: int | list[int] | None) -> list[str]:
    """Split a text as it is streamed: by tokens, or by the given numbers of characters, repeated."""
    if chunk_chars is None:
        return _by_token(text)
    sizes = [chunk_chars] if isinstance(chunk_chars, int) else chunk_chars
    split: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(split) % len(sizes)]
        split.append(text[at : at + size])
        at += size
    return split


def _by_token(text: str) -> list[str]:
    tokenizer = _o200k()
    split: list[str] = []
    held: list[int] = []
    for token in tokenizer.encode(text):
        held.append(token)
        piece = tokenizer.decode(held)
        if piece is not None:  # a character may take several tokens
            split.append(piece)
            held = []
    return split
