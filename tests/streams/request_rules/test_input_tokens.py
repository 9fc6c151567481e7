"""The estimate of a request's input tokens."""

from streams.events import ChatRequested, EmbeddingsRequested, Message
from streams.model_catalogue import count_messages, count_text
from streams.request_rules.input_tokens import input_tokens


def test_a_query_counts_with_its_variables() -> None:
    """The template around them is not known yet."""
    request = ChatRequested(user_id="u", query="capital of France?", variables={"tone": "short and dry"})
    assert input_tokens(request) == count_text("capital of France?") + count_text("short and dry")


def test_messages_count_as_openai_counts_them() -> None:
    """With what each message costs beside its text."""
    request = ChatRequested(user_id="u", messages=(Message(role="user", content="capital?"),))
    assert input_tokens(request) == count_messages([{"role": "user", "content": "capital?"}])


def test_texts_to_embed_count_together() -> None:
    """They have no answer."""
    request = EmbeddingsRequested(user_id="u", inputs=("lye", "canal lock"), model="m")
    assert input_tokens(request) == count_text("lye") + count_text("canal lock")
