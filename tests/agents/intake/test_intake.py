"""What a sender may write around a request."""

from typing import Any

import pytest

from agents.intake.intake import check_entrance
from streams.errors import InvalidRequest
from tests.fakes.envelopes import NOW, chat, record


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"headers": [("h", b"x")] * 65}, "headers_too_large", "headers"),
        ({"headers": [("h", b"x" * 16_385)]}, "headers_too_large", "headers"),
        (
            {"headers": [("kafka_correlationId", b"c" * 1_025)]},
            "correlation_id_too_long",
            "kafka_correlationId",
        ),
        ({"headers": [("ce_id", b"i" * 257)]}, "invalid_request_id", "ce_id"),
        ({"headers": [("ce_id", b"line\n")]}, "invalid_request_id", "ce_id"),
        ({"key": b"k" * 257}, "invalid_request_id", "key"),
        ({"key": b"nul\x00"}, "invalid_request_id", "key"),
    ],
)
def test_what_is_written_around_a_request_is_bounded(fields: dict[str, Any], code: str, param: str) -> None:
    """It would be kept in Redis, and travel with every record of the request."""
    with pytest.raises(InvalidRequest) as caught:
        check_entrance(record(chat(), **fields), chat(), now=NOW)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_what_others_need_is_within_the_bounds() -> None:
    """Spring's headers, a service mesh's, and ids as long as anybody has them."""
    headers = [("kafka_correlationId", b"c" * 1_024), ("ce_id", b"i" * 256), ("baggage", b"b" * 8_192)]
    check_entrance(record(chat(), key=b"k" * 256, headers=headers), chat(), now=NOW)


def test_deep_free_form_fields_are_refused_before_they_are_encoded() -> None:
    """Encoding them would end in a recursion error, and the sender would be told of a bug."""
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest) as caught:
        check_entrance(record(chat()), chat(metadata=deep), now=NOW)
    assert caught.value.param == "metadata"
