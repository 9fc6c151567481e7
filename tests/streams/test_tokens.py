"""Token counts."""

import pytest

from streams.model_catalogue import count_messages, count_text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("Привет", 2),
    ],
)
def test_known_counts(text: str, tokens: int) -> None:
    """Of o200k_base, as OpenAI's cookbook and tokenizer page give them."""
    assert count_text(text) == tokens


def test_a_special_token_is_only_text() -> None:
    """A sender who writes a tokenizer's control word neither fails nor gets it for free."""
    assert count_text("<|endoftext|>") > 1


def test_messages_cost_more_than_their_text() -> None:
    """Three a message, three for the reply, one for a name."""
    assert count_messages([]) == 3
    assert count_messages([{"role": "user", "content": "hello world"}]) == 3 + 3 + 1 + 2
    named = count_messages([{"role": "user", "content": "hello world", "name": "ann"}])
    assert named == 3 + 3 + 1 + 2 + count_text("ann") + 1


def test_absent_content_costs_nothing_and_structures_their_json() -> None:
    """An assistant's tool call has no content, and arguments that the model reads."""
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    bare = count_messages([{"role": "assistant", "content": None}])
    assert bare == 3 + 3 + 1
    assert count_messages([{"role": "assistant", "content": None, "tool_calls": [call]}]) > bare + 5
