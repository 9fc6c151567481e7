"""How a sender wants the answer cache used: directives of `Cache-Control` (RFC 9111, section 5.2.1).

| directive | a cached answer is given | the new answer is cached |
|---|---|---|
| `no-cache` | no | yes |
| `no-store` | no | no |
| `max-age=60` | if it is at most 60 seconds old | yes |
"""

from typing import Final

from msgspec import Struct

from streams.errors import InvalidRequest
from streams.request_rules.faults import check_at_most

MAX_DIRECTIVES_CHARS: Final = 256
_MAX_DIGITS: Final = 10
_KNOWN: Final = ("no-cache", "no-store", "max-age")
_WORDS: Final = "no-cache, no-store and max-age=SECONDS"


class CacheDirectives(Struct, frozen=True, kw_only=True):
    """Whether a cached answer may be given, its highest age in seconds, and whether a new one is cached."""

    read: bool = True
    store: bool = True
    max_age_s: int | None = None


def cache_directives(text: str | None) -> CacheDirectives:
    """Return what the field `headrace_cache` says; raise `InvalidRequest` for anything else."""
    param = "headrace_cache"
    found = _words(text or "", param)
    unknown = next((word for word in found if word not in _KNOWN), None)
    if unknown is not None:
        raise InvalidRequest(
            f"{param}: {unknown[:64]!r} is unknown; {_WORDS} are known, separated by commas", param=param
        )
    max_age_s = found.get("max-age")
    store = "no-store" not in found
    read = store and "no-cache" not in found and max_age_s != 0
    return CacheDirectives(read=read, store=store, max_age_s=max_age_s)


def known_directives(header: str) -> str | None:
    """Return our directives in a `Cache-Control` header, or None; `InvalidRequest` for an odd `max-age`."""
    found = _words(header, "Cache-Control")
    known = {"no-cache": "no-cache", "no-store": "no-store", "max-age": f"max-age={found.get('max-age')}"}
    return ", ".join(known[word] for word in known if word in found) or None


def _words(text: str, param: str) -> dict[str, int | None]:
    check_at_most(len(text), MAX_DIRECTIVES_CHARS, param, " characters")
    found: dict[str, int | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        word, equals, value = part.partition("=")
        word, value = word.strip().lower(), value.strip().strip('"')
        if word == "max-age":
            if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
                raise InvalidRequest(
                    f"{param}: max-age must be a whole number of seconds, e.g. max-age=60", param=param
                )
            found[word] = int(value)
        else:
            found[part.lower() if equals else word] = None
    return found
