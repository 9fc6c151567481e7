"""The words by which senders say how the answer cache may be used."""

import pytest

from streams.errors import InvalidRequest
from streams.request_rules.cache_directives import CacheDirectives, cache_directives, known_directives


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, CacheDirectives()),
        ("", CacheDirectives()),
        ("no-cache", CacheDirectives(read=False)),
        ("No-Store", CacheDirectives(read=False, store=False)),
        ("max-age=60", CacheDirectives(max_age_s=60)),
        (' max-age = "60" , no-cache', CacheDirectives(read=False, max_age_s=60)),
        ("max-age=0", CacheDirectives(read=False, max_age_s=0)),
    ],
)
def test_what_they_mean(text: str | None, expected: CacheDirectives) -> None:
    """As in RFC 9111, for a cache of answers."""
    assert cache_directives(text) == expected


@pytest.mark.parametrize(
    "text", ["nocache", "max-age", "max-age=-1", "max-age=1.5", "max-age=x", "only-if-cached", "x" * 257]
)
def test_a_field_with_other_words_is_refused(text: str) -> None:
    """By name, with what it may say."""
    with pytest.raises(InvalidRequest) as refused:
        cache_directives(text)
    assert refused.value.param == "headrace_cache"
    assert str(refused.value).startswith("headrace_cache")


def test_a_header_may_speak_to_other_caches_too() -> None:
    """Browsers and proxies add words of theirs."""
    assert known_directives("no-transform, max-age=5, private, No-Cache") == "no-cache, max-age=5"
    assert known_directives("only-if-cached") is None
    with pytest.raises(InvalidRequest, match="Cache-Control: max-age must be a whole number"):
        known_directives("max-age=soon")
