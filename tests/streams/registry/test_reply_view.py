"""A reply as its sender sees it."""

from decimal import Decimal

import msgspec

from streams.events import Reply, Status, Usage
from streams.registry.entries import plain, reply_json, reply_view
from streams.serving.responses import to_json

REPLY = Reply(
    request_id="r-1",
    status=Status.ANSWERED,
    content="Grüße",
    usage=Usage(input_tokens=3),
    cost_usd=Decimal("0.000450000"),
)


def test_every_field_is_there() -> None:
    """Those that have their default, too: who reads it need not know the defaults."""
    found = msgspec.json.decode(reply_json(REPLY))
    assert set(found) == set(REPLY.__struct_fields__)
    assert found["repeat"] is False


def test_money_is_a_number_with_exactly_its_digits() -> None:
    """Without an exponent, or zeros that say nothing."""
    assert b'"cost_usd":0.00045,' in reply_json(REPLY)
    assert [str(plain(Decimal(each))) for each in ("0E-9", "1E+2", "1.50")] == ["0", "100", "1.5"]


def test_a_webhook_says_what_get_says() -> None:
    """Byte for byte."""
    assert reply_json(REPLY) == to_json(reply_view(REPLY))
