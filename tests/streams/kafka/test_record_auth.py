"""Which records count as written by Headrace."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import ConfigurationError
from streams.kafka.record_auth import HEADER, UNSIGNED, RecordAuth, key_of_redis
from streams.settings import load_settings

OLD, NEW = b"o" * 32, b"n" * 32
TOPIC = "llm.logs.v1"
HEADERS = (("ce_id", b"r-1"), ("__streams.retry.attempt", b"1"), ("traceparent", b"00-a"))

texts = st.one_of(st.none(), st.binary(max_size=40))
headers = st.lists(
    st.tuples(st.sampled_from(["ce_id", "kafka_replyTopic", "__streams.x", "h"]), st.binary(max_size=8)),
    max_size=5,
).map(tuple)


@settings(max_examples=40)
@given(key=texts, value=texts, given=headers)
def test_what_was_signed_is_authentic_and_what_was_changed_is_not(
    key: bytes | None, value: bytes | None, given: tuple[tuple[str, bytes], ...]
) -> None:
    """Key, value, topic, and every header that Headrace acts upon, also a further one of the same name."""
    auth = RecordAuth([NEW])
    signed = auth.signed(TOPIC, key, value, given)
    assert auth.is_authentic(TOPIC, key, value, signed)
    assert not auth.is_authentic("llm.ledger.v1", key, value, signed)
    assert not auth.is_authentic(TOPIC, (key or b"") + b"x", value, signed)
    assert not auth.is_authentic(TOPIC, key, (value or b"") + b"x", signed)
    assert not auth.is_authentic(TOPIC, key, value, (*signed, ("kafka_replyTopic", b"elsewhere")))
    assert not auth.is_authentic(TOPIC, key, value, (*signed, signed[-1]))


def test_null_and_empty_are_not_the_same() -> None:
    """A tombstone must not pass for an empty value, nor may bytes move from the key to the value."""
    auth = RecordAuth([NEW])
    signed = auth.signed(TOPIC, b"ab", None, ())
    assert not auth.is_authentic(TOPIC, b"ab", b"", signed)
    assert not auth.is_authentic(TOPIC, b"a", b"b", auth.signed(TOPIC, b"ab", b"", ()))


def test_headers_that_others_add_on_the_way_do_no_harm() -> None:
    """Tracing agents and mirrors do."""
    auth = RecordAuth([NEW])
    signed = auth.signed(TOPIC, b"k", b"v", HEADERS)
    added = (*(each for each in signed if each[0] != "traceparent"), ("x-mirror", b"1"))
    assert auth.is_authentic(TOPIC, b"k", b"v", added)


def test_a_key_can_be_replaced_while_records_of_the_old_one_are_still_there() -> None:
    """The first key signs, all of them are believed; one that was taken away is not."""
    old = RecordAuth([OLD]).signed(TOPIC, b"k", b"v", ())
    both = RecordAuth([NEW, OLD])
    assert both.is_authentic(TOPIC, b"k", b"v", old)
    assert RecordAuth([NEW]).is_authentic(TOPIC, b"k", b"v", both.signed(TOPIC, b"k", b"v", old))
    assert not RecordAuth([NEW]).is_authentic(TOPIC, b"k", b"v", old)


@pytest.mark.parametrize("code", [b"", b"0", b"f" * 8, b"f" * 40, b"\xff" * 40])
def test_a_made_up_code_is_none(code: bytes) -> None:
    """Of whatever length."""
    assert not RecordAuth([NEW]).is_authentic(TOPIC, b"k", b"v", ((HEADER, code),))


def test_of_a_record_that_others_wrote_no_reserved_header_is_left() -> None:
    """Else a copy of it, signed by Headrace, would vouch for a replay number that its sender made up."""
    auth = RecordAuth([NEW])
    assert auth.read(TOPIC, b"k", b"v", HEADERS) == (False, (HEADERS[0], HEADERS[2]))
    assert auth.read(TOPIC, b"k", b"v", auth.signed(TOPIC, b"k", b"v", HEADERS)) == (True, HEADERS)
    assert auth.read(TOPIC, b"k", b"v", (("h", None),)) == (False, (("h", b""),))


def test_without_keys_nothing_is_signed_and_everything_is_believed() -> None:
    """For installations that have chosen so."""
    assert UNSIGNED.signed(TOPIC, b"k", b"v", HEADERS) == HEADERS
    assert UNSIGNED.read(TOPIC, b"k", b"v", HEADERS) == (True, HEADERS)
    assert not UNSIGNED.enabled


def test_going_without_is_a_choice_that_somebody_has_to_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was given no key does not start, and says what to do."""
    monkeypatch.delenv("HEADRACE_RECORD_KEYS", raising=False)
    monkeypatch.delenv("HEADRACE_RECORD_SIGNING", raising=False)
    parts = {"kafka_bootstrap": "k:1", "redis_url": "redis://:short@r", "clickhouse_url": "http://c"}
    with pytest.raises(ConfigurationError, match="HEADRACE_RECORD_SIGNING=off"):
        RecordAuth.from_settings(load_settings(**parts))
    assert not RecordAuth.from_settings(load_settings(**parts, record_signing="off")).enabled
    assert RecordAuth.from_settings(load_settings(**parts, record_keys=("k" * 32,))).enabled
    with pytest.raises(ConfigurationError, match="HEADRACE_RECORD_KEYS"):
        load_settings(**parts, record_keys=("short",))


def test_the_password_of_redis_makes_a_key_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process has it, and who else has it needs to forge no record. A given key goes before it."""
    monkeypatch.delenv("HEADRACE_RECORD_SIGNING", raising=False)
    secret = "p%2F" + "x" * 24
    parts = {"kafka_bootstrap": "k:1", "clickhouse_url": "http://c"}
    settings = load_settings(**parts, redis_url=f"redis://:{secret}@one:1/0")
    signed = RecordAuth.from_settings(settings).signed(TOPIC, b"k", b"v", ())
    key = key_of_redis(f"redis://ann:{secret}@another:2/3")
    assert key is not None
    assert RecordAuth([key]).is_authentic(TOPIC, b"k", b"v", signed)
    given = load_settings(**parts, redis_url=settings.redis_url, record_keys=("k" * 32,))
    assert not RecordAuth.from_settings(given).is_authentic(TOPIC, b"k", b"v", signed)
    assert key_of_redis("redis://r:1") is None
