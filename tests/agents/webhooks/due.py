"""Records of the webhooks' topic."""

from typing import Any

from agents.stage import Record
from streams.events import Reply, Status, WebhookDue
from streams.topics import WEBHOOKS
from tests.fakes.envelopes import record

URL = "https://hooks.example/a?token=t"


def due(url: str = URL, *, request_id: str = "r-1", **reply: Any) -> WebhookDue:
    """A note that a request was answered."""
    given: dict[str, Any] = {"status": Status.ANSWERED, "content": "Paris."}
    return WebhookDue(
        request_id=request_id,
        tenant="acme",
        url=url,
        reply=Reply(request_id=request_id, **(given | reply)),
    )


def due_record(event: WebhookDue | bytes | None = None, **fields: Any) -> Record:
    """The record that carries it."""
    event = due() if event is None else event
    key = b"r-1" if isinstance(event, bytes) else event.request_id.encode()
    return record(event, topic=WEBHOOKS, key=key, **fields)
