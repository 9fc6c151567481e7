"""Whether a webhook that a client asks for could be delivered at all."""

from ingest.errors import invalid
from streams.errors import InvalidRequest
from streams.events import Webhook
from streams.settings import Settings


def check_webhook(webhook: Webhook | None, settings: Settings) -> None:
    """Check what can be seen of a webhook's URL. Where its name leads is checked when it is sent.

    Raises:
        ApiError: 400, what is wrong with it, or that this installation sends none.
    """
    if webhook is None:
        return
    try:
        settings.webhook_targets.check_url(webhook.url)
    except InvalidRequest as fault:
        raise invalid(fault.message, param=fault.param, code=fault.code) from fault
