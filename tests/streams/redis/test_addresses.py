"""Addresses without their passwords."""

import pytest

from streams.redis.addresses import without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:secret@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("a http://u:p@h:1/x?y=z@w and https://v@g.", "a http://h:1/x?y=z@w and https://g."),
        ('{"url": "http://u:p%40@h"}', '{"url": "http://h"}'),
        ("http://h:1/a@b", "http://h:1/a@b"),
        ("somebody@example.com", "somebody@example.com"),
        ("http://h said: ask me@example.com", "http://h said: ask me@example.com"),
        ("", ""),
    ],
)
def test_only_user_and_password_go(text: str, shown: str) -> None:
    """Paths, mail addresses and the rest of the text stay."""
    assert without_credentials(text) == shown
