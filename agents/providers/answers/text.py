"""The text of one answer from its pieces, encodable and bounded."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agents.providers.answers.encodable import TextPieces, encodable
from agents.providers.faults import Malformed, NotTaken
from streams.kafka.record_sizes import MAX_ANSWER_BYTES


class AnswerText:
    """Puts a text together; see `TextPieces` for what is held back."""

    def __init__(self) -> None:
        self._pieces = TextPieces()
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
        return self._tell(self._pieces.feed(piece))

    def end(self) -> str:
        """Return what is left of the text, after its last piece."""
        return self._tell(self._pieces.end())

    def rest_of(self, whole: str) -> str:
        """Return what a whole text adds to the pieces that came before it.

        Raises:
            Malformed: it does not begin as they do.
        """
        if not self._told:
            return whole
        self._pieces = TextPieces()
        whole, told = encodable(whole), self.told
        if not whole.startswith(told):
            raise Malformed("the whole message at the end of the stream is not what its pieces have said")
        return whole[len(told) :]

    def _tell(self, text: str) -> str:
        if text:
            self._told.append(text)
            self.count(len(text))
        return text

    def count(self, chars: int) -> None:
        """Count what belongs to the answer beside its text.

        Raises:
            NotTaken: it is longer than an answer may be.
        """
        self._size += chars
        if self._size > MAX_ANSWER_BYTES:
            raise NotTaken(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")


def check_size(text: str, tool_calls: Iterable[Mapping[str, Any]]) -> None:
    """Check that an answer fits into the records that carry it.

    Raises:
        NotTaken: it is longer than `MAX_ANSWER_BYTES` as JSON.
    """
    if len(msgspec.json.encode((text, list(tool_calls)))) > MAX_ANSWER_BYTES:
        raise NotTaken(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
