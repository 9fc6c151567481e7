"""The answer cache in HTTP's words: what a client asks of it, and what a response says of it."""

from starlette.datastructures import Headers

from ingest.errors import invalid
from streams.errors import InvalidRequest
from streams.events import CacheKind, Reply
from streams.request_rules.cache_directives import known_directives

KIND_HEADER = "X-Headrace-Cache"
MODEL_HEADER = "X-Headrace-Model"


def cache_header(headers: Headers) -> str | None:
    """Return what `Cache-Control` asks of the answer cache, in the words of the field `headrace_cache`.

    Raises:
        ApiError: 400, `max-age` is no whole number.
    """
    given = headers.get("cache-control")
    if given is None:
        return None
    try:
        return known_directives(given)
    except InvalidRequest as fault:
        raise invalid(fault.message, param=fault.param) from None


def cache_headers(reply: Reply | None, kind: CacheKind | None = None) -> dict[str, str]:
    """Return the headers of an answer: how the cache was consulted, whose answer it is, and its age if kept.

    Args:
        reply: the reply; None where the answer is still being written.
        kind: what is known then.
    """
    if reply is None:
        return {KIND_HEADER: kind.value} if kind else {}
    found = {
        KIND_HEADER: reply.cache_kind.value if reply.cache_kind else None,
        MODEL_HEADER: reply.model,
        # Of a reply that is given again nobody knows how old the answer is by now.
        "Age": None if reply.cache_age_s is None or reply.repeat else str(reply.cache_age_s),
    }
    return {name: value for name, value in found.items() if value and value.isascii() and value.isprintable()}
