"""Removes passwords from addresses such as ``redis://:password@host:port/0``."""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^\s/@\"']{0,512}@")


def without_credentials(text: str) -> str:
    """Return the text without the user and password of every address."""
    return _CREDENTIALS.sub("", text) if "@" in text else text
