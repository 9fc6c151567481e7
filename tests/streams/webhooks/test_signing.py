"""Signatures of webhooks, against the specification's own example and its rules."""

import pytest

from streams.webhooks.signing import signature, signing_keys, webhook_id

#: The example of the specification's reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed(secrets: str = SECRET, body: bytes = BODY) -> str:
    return signature(signing_keys(secrets), message_id=ID, timestamp_s=TIMESTAMP, body=body)


def test_the_specifications_example() -> None:
    """So any library of Standard Webhooks verifies ours."""
    assert signed() == SIGNATURE


def test_another_body_has_another_signature() -> None:
    """One byte is enough."""
    assert signed(body=BODY + b" ") != SIGNATURE


def test_two_secrets_sign_twice() -> None:
    """While a secret is changed, receivers with either one accept."""
    other = "whsec_" + "QUJD" * 8
    first, second = signed(f"{other} {SECRET}").split(" ")
    assert second == SIGNATURE
    assert first == signed(other)


@pytest.mark.parametrize(
    "secret",
    ["", "  ", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!", "whsec_QUJD", "whsec_" + "QUJD" * 22],
)
def test_what_is_no_secret(secret: str) -> None:
    """Without its prefix, not base64, too short, too long."""
    with pytest.raises(ValueError, match="24 to 64 random bytes"):
        signing_keys(secret)


def test_the_id_tells_outcomes_apart_and_nothing_else() -> None:
    """The same for each repeat, another one for a replay; without the dot that separates what is signed."""
    assert webhook_id("a.b", 0) == webhook_id("a.b", 0)
    assert len({webhook_id("a.b", 0), webhook_id("a.b", 1), webhook_id("a", 0)}) == 3
    assert webhook_id("a.b", 0).startswith("msg_")
    assert "." not in webhook_id("a.b", 0)
