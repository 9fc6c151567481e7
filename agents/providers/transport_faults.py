"""What the HTTP client raises as the fault that it is, and whether the call may be billed all the same."""

import aiohttp
import httpx2

from agents.providers.faults import (
    ClientNotLoaded,
    ConnectionLost,
    Malformed,
    ProviderFault,
    ProviderTimeout,
    Refused,
)
from agents.providers.provider import Timeouts

_MAX_CHARS = 500
_FIRST_REFUSAL = 400


def transport_fault(error: BaseException, timeouts: Timeouts) -> ProviderFault:
    """Return the fault for what the HTTP client, or reading the answer, has raised."""
    words = f"{type(error).__name__}: {str(error)[:_MAX_CHARS]}".removesuffix(": ")
    match error:
        case httpx2.TimeoutException():
            return _timeout_fault(error, timeouts)
        case httpx2.DecodingError():
            return Malformed(f"the answer is not compressed as it says: {error}")
        case httpx2.HTTPError() | OSError() | aiohttp.ClientConnectionError():
            return ConnectionLost(words)
        case aiohttp.ClientError():
            return Malformed(f"the answer is no HTTP response: {words}")
        case _:
            return Malformed(f"the answer could not be read: {words}")


def _timeout_fault(error: httpx2.TimeoutException, timeouts: Timeouts) -> ProviderFault:
    cause = error.__cause__
    # The client has one name, `ConnectTimeout`, for each connection that fails, late or refused.
    if isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, TimeoutError):
        return transport_fault(cause, timeouts)
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ProviderTimeout("connect", after_s=timeouts.connect_s)
    return ProviderTimeout("total", after_s=timeouts.total_s)


def may_be_billed(fault: ProviderFault, error: BaseException) -> bool:
    """Tell whether a provider may bill a call that failed before any of its answer was read.

    It may where the request was sent and no refusal came back: the answer is generated, whether or not it
    arrives. A call that reached nobody, or that a status from 400 on has refused, is not billed.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status < _FIRST_REFUSAL
    if isinstance(fault, ProviderTimeout) and fault.phase == "connect":
        return False
    return not isinstance(fault, Refused | ClientNotLoaded) and not _never_connected(error)


def _never_connected(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, aiohttp.ClientConnectorError | httpx2.ConnectError):
            return True
        error = error.__cause__
    return False
