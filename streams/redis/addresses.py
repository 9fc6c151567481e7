"""Addresses with passwords in them, such as ``redis://:password@host:port/0``."""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^\s/@\"']{0,512}@")


def without_credentials(text: str) -> str:
    """Take user and password out of every address in a text."""
    return _CREDENTIALS.sub("", text) if "@" in text else text
