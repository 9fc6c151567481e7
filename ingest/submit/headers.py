"""The text of HTTP headers."""

from collections.abc import Mapping

from ingest.errors import invalid
from streams.request_rules.bounds import has_control_character


def header_text(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header as text, which is UTF-8 here; None where there is none.

    Raises:
        ApiError: 400, its bytes are no UTF-8, or it has control characters.
    """
    value = headers.get(name)
    if value is None or value.isascii():
        text = value
    else:
        try:
            text = value.encode("latin-1").decode()
        except UnicodeDecodeError:
            raise invalid(f"{name} must be UTF-8", param=name) from None
    if text is not None and has_control_character(text):
        raise invalid(f"{name}: line ends and other control characters are not allowed", param=name)
    return text
