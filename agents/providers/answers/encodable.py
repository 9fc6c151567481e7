r"""Makes a provider's text encodable: JSON can say what UTF-8 cannot.

A provider that cuts its answer after so many UTF-16 units sends `"Hi \ud83d"` and then `"\ude00!"`: two
halves of one character, neither of which can be encoded. Halves that belong together are joined, over the
pieces of a stream as well (`AnswerText`); one whose other half never comes becomes U+FFFD.
"""

import re

_ESCAPES = re.compile(
    r"\\(?:u(?P<half>d[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|d[c-f][0-9a-f]{2})"
    r"|ud[89ab][0-9a-f]{2}\\u[0-9a-f]{4}|.)",
    re.IGNORECASE | re.DOTALL,
)


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
