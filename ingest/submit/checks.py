"""The rules of `streams.request_rules.chat`, as HTTP says them."""

from collections.abc import Sequence

from ingest.errors import invalid
from ingest.outcomes import status_of_mistake
from streams.errors import InvalidRequest
from streams.events import ChatRequested
from streams.request_rules.chat import check_chat


def check_request(
    request: ChatRequested, *, max_tokens_per_request: int, extra_parameters: Sequence[str] = ()
) -> None:
    """Check a request before it is accepted.

    Raises:
        ApiError: 400 (404 for an unknown model), with the field and what it must be.
    """
    try:
        check_chat(
            request,
            max_tokens_per_request=max_tokens_per_request,
            extra_parameters=extra_parameters,
        )
    except InvalidRequest as fault:
        raise invalid(
            fault.message, param=fault.param, code=fault.code, status=status_of_mistake(fault.code)
        ) from None
