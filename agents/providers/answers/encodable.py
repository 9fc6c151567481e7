r"""Makes the text of a provider such that it can be told: JSON can say what UTF-8 cannot.

A provider that cuts its answer after so many UTF-16 units sends `"Hi \ud83d"` and then `"\ude00!"`: two
halves of one character, neither of which can be encoded. Halves that belong together are joined, over the
pieces of a stream as well; one whose other half never comes becomes U+FFFD.

    pieces = TextPieces()
    pieces.feed("Hi \ud83d")  # "Hi "
    pieces.feed("\ude00!")  # "😀!"
    pieces.end()  # ""
"""

import re
from typing import Any

_ESCAPES = re.compile(
    r"\\(?:u(?P<half>d[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|d[c-f][0-9a-f]{2})"
    r"|ud[89ab][0-9a-f]{2}\\u[0-9a-f]{4}|.)",
    re.IGNORECASE | re.DOTALL,
)
_FIRST_HALVES = range(0xD800, 0xDC00)


def decoded(data: bytes) -> str:
    """Return the text in a provider's bytes; it may have halves of characters, as some servers write them.

    Other bytes that are no UTF-8 become U+FFFD.
    """
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode(errors="replace")


def encodable(text: str) -> str:
    """Return the text with its halves joined, and U+FFFD for each that has no other half."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable_escapes(text: str) -> str:
    r"""Return JSON in a text, or a part of it, with `\ufffd` for each half of a character it escapes."""
    if "\\ud" not in text.lower():
        return text
    return _ESCAPES.sub(lambda escape: r"\ufffd" if escape["half"] else escape[0], text)


def encodable_json(value: Any) -> Any:
    """Return a JSON value all of whose texts are `encodable`, names included."""
    match value:
        case str():
            return encodable(value)
        case dict():
            return {encodable(name): encodable_json(each) for name, each in value.items()}
        case list() | tuple():
            return type(value)(encodable_json(each) for each in value)
        case _:
            return value


class TextPieces:
    """Joins halves over the pieces of a streamed text. At most one half is held back."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """Return what can be told with this piece; it may be empty."""
        text = self._half + piece
        self._half = text[-1:] if text and ord(text[-1]) in _FIRST_HALVES else ""
        return encodable(text.removesuffix(self._half) if self._half else text)

    def end(self) -> str:
        """Return what is left: U+FFFD for a half that is still alone."""
        half, self._half = self._half, ""
        return encodable(half)
