"""Finding a request by its id, for its owner."""

import re

from ingest.errors import ApiError, not_found, outage
from ingest.services import Services
from streams.errors import StoreUnavailable
from streams.registry.registry import RequestState
from streams.serving.keys import Caller

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


async def state_of(request_id: str, caller: Caller, services: Services) -> RequestState:
    """Return where a request of the caller's tenant stands.

    Raises:
        ApiError: 404, there is none, or it is another tenant's; 503, Redis does not answer.
    """
    try:
        known = bool(REQUEST_ID.fullmatch(request_id))
        state = await services.registry.find(request_id) if known else None
    except StoreUnavailable as fault:
        raise outage(fault, "the request registry") from fault
    if state is None or state.tenant != caller.tenant:
        # The same words for both: whether another tenant has such a request is not the caller's business.
        raise no_such_request()
    return state


def no_such_request() -> ApiError:
    """Return the 404 for a request that is not there, or not for this caller."""
    return not_found(
        "no such request: it was never accepted, or its reply is no longer kept",
        code="request_not_found",
        param="request_id",
    )
