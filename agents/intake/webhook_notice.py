"""The note that a request's end is to be told of: what whoever sends a terminal reply sends with it."""

from streams.events import Envelope, Reply, WebhookDue
from streams.publisher import Emit
from streams.topics import WEBHOOKS


def notices(reply: Reply, envelope: Envelope) -> list[Emit]:
    """Return what is to be sent with the terminal reply: nothing where its sender wants no webhook.

    Args:
        reply: as it is stored, so that the webhook says what `GET /v1/requests/{id}` says.
        envelope: of the request.
    """
    webhook = envelope.request.webhook
    if webhook is None:
        return []
    due = WebhookDue(request_id=reply.request_id, tenant=envelope.tenant, url=webhook.url, reply=reply)
    return [Emit.to(WEBHOOKS, due, key=reply.request_id)]
