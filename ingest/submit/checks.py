"""Checks a chat request before it is accepted: the same rules as the guardrail's, and its webhook's URL."""

from streams.events import ChatRequested
from streams.request_rules.chat import check_chat
from streams.settings import Settings


def check_request(request: ChatRequested, settings: Settings) -> None:
    """Check a request by the rules of this installation.

    Of a webhook only the URL is checked; its address is resolved and checked at each delivery.

    Raises:
        InvalidRequest: the first fault, with the field and what it must be.
    """
    check_chat(
        request,
        max_tokens_per_request=settings.max_tokens_per_request,
        extra_parameters=settings.extra_parameters,
    )
    if request.webhook is not None:
        settings.webhook_targets.check_url(request.webhook.url)
