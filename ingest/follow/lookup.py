"""Finds a request by its id, for its owner."""

import re

from ingest.services import Services
from streams.registry.registry import RequestState
from streams.serving.errors import ApiError, not_found
from streams.serving.keys import Caller

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


async def state_of(request_id: str, caller: Caller, services: Services) -> RequestState:
    """Return where a request of the caller's tenant stands.

    Raises:
        ApiError: 404, there is none, or it is another tenant's.
        StoreUnavailable: Redis does not answer.
    """
    check_request_id(request_id)
    state = await services.registry.find(request_id)
    if state is None or state.tenant != caller.tenant:
        raise no_such_request()
    return state


def check_request_id(request_id: str) -> None:
    """Check that an id could be a request's.

    Raises:
        ApiError: 404, it could not.
    """
    if not _REQUEST_ID.fullmatch(request_id):
        raise no_such_request()


def no_such_request() -> ApiError:
    """Return the 404 for a request that does not exist. It is the same for one of another tenant."""
    return not_found(
        "no such request: it was never accepted, or its reply is no longer kept",
        code="request_not_found",
        param="request_id",
    )
