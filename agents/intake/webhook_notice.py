"""The record on `llm.webhooks.v1`: it goes with every terminal reply whose sender wants a webhook."""

from streams.events import Envelope, Reply, WebhookDue
from streams.publisher import Emit
from streams.topics import WEBHOOKS


def webhook_emits(reply: Reply, envelope: Envelope) -> list[Emit]:
    """Return the record that asks for a webhook; nothing where the sender wants none.

    `reply` is as it is stored, so that the webhook says what `GET /v1/requests/{id}` says.
    """
    webhook = envelope.request.webhook
    if webhook is None:
        return []
    due = WebhookDue(request_id=reply.request_id, tenant=envelope.tenant, url=webhook.url, reply=reply)
    return [Emit.to(WEBHOOKS, due, key=reply.request_id)]
