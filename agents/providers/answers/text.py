"""The text of one answer from its pieces, encodable and bounded."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agents.providers.answers.encodable import encodable
from agents.providers.faults import Malformed, NotTaken
from streams.kafka.record_sizes import MAX_ANSWER_BYTES

_FIRST_HALVES = range(0xD800, 0xDC00)


class AnswerText:
    r"""Puts a text together. Half a character is held back until its other half comes.

    text = AnswerText()
    text.feed("Hi \ud83d")  # "Hi "
    text.feed("\ude00!")  # "😀!"
    text.end()  # ""
    """

    def __init__(self) -> None:
        self._half = ""
        self._told: list[str] = []
        self._size = 0

    @property
    def told(self) -> str:
        """The text that was told so far."""
        return "".join(self._told)

    def feed(self, piece: str) -> str:
        """Return what can be told with this piece; it may be empty.

        Raises:
            NotTaken: the text is longer than an answer may be.
        """
        text = self._half + piece
        self._half = text[-1:] if text and ord(text[-1]) in _FIRST_HALVES else ""
        return self._tell(text.removesuffix(self._half) if self._half else text)

    def end(self) -> str:
        """Return what is left of the text: U+FFFD for a half that is still alone."""
        half, self._half = self._half, ""
        return self._tell(half)

    def rest_of(self, whole: str) -> str:
        """Return what a whole text adds to the pieces that came before it.

        Raises:
            Malformed: it does not begin as they do.
        """
        if not self._told:
            return whole
        self._half = ""
        whole, told = encodable(whole), self.told
        if not whole.startswith(told):
            raise Malformed("the whole message at the end of the stream is not what its pieces have said")
        return whole[len(told) :]

    def count(self, chars: int) -> None:
        """Count what belongs to the answer beside its text.

        Raises:
            NotTaken: it is longer than an answer may be.
        """
        self._size += chars
        if self._size > MAX_ANSWER_BYTES:
            raise NotTaken(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")

    def _tell(self, text: str) -> str:
        text = encodable(text)
        if text:
            self._told.append(text)
            self.count(len(text))
        return text


def check_size(text: str, tool_calls: Iterable[Mapping[str, Any]]) -> None:
    """Check that an answer fits into the records that carry it.

    Raises:
        NotTaken: it is longer than `MAX_ANSWER_BYTES` as JSON.
    """
    if len(msgspec.json.encode((text, list(tool_calls)))) > MAX_ANSWER_BYTES:
        raise NotTaken(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
