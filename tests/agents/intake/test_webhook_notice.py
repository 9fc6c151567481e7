"""The note that goes with a terminal reply."""

from agents.intake.replies import webhook_emits
from streams.events import Reply, Status, Webhook, WebhookDue
from streams.topics import WEBHOOKS
from tests.fakes.envelopes import chat, envelope

REPLY = Reply(request_id="r-1", status=Status.ANSWERED, content="Paris.")


def test_it_holds_the_reply_and_where_it_goes() -> None:
    """Keyed by the request, so that its notes keep their order."""
    (note,) = webhook_emits(REPLY, envelope(chat(webhook=Webhook(url="https://hooks.example/"))))
    assert (note.topic, note.key) == (WEBHOOKS.name, "r-1")
    assert note.value == WebhookDue(
        request_id="r-1", tenant="acme", url="https://hooks.example/", reply=REPLY
    )


def test_who_asked_for_none_gets_none() -> None:
    """And costs nothing."""
    assert webhook_emits(REPLY, envelope()) == []
