"""Turns what the SDKs, the HTTP client and reading an answer raise into faults that carry what was spent."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import aiohttp
import httpx2

from agents.providers.error_responses import error_of_body, fault_of_error
from agents.providers.faults import (
    ClientNotLoaded,
    ConnectionLost,
    Malformed,
    ProviderFault,
    ProviderTimeout,
    Refused,
)
from agents.providers.provider import AnyCall, Timeouts
from agents.providers.sdk_client import SdkClient
from agents.providers.usage import asked_tier
from streams.events import Usage

_MAX_CHARS = 500
_FIRST_REFUSAL = 400
#: What a call may raise beside the SDK's own exceptions: HTTP that breaks off or is none, and what reading an
#: answer raises that nests too deeply or is of another shape.
_READING_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)


class CallSpending:
    """What has come of an answer so far.

    Attributes:
        opened: whether the provider has taken the call: from then on it bills the prompt.
        model: the model that answers, as the provider names it.
    """

    def __init__(self, call: AnyCall) -> None:
        self._call = call
        self.opened = False
        self.model: str | None = None

    def estimate(self) -> Usage:
        """Return what a break at this point has cost, if the provider has taken the call: the prompt."""
        return Usage(
            input_tokens=self._call.input_tokens, estimated=True, service_tier=asked_tier(self._call)
        )


@contextmanager
def spending_faults(client: SdkClient, call: AnyCall, spending: CallSpending) -> Iterator[None]:
    """Turn the exceptions inside the block into faults that carry what was spent, where something was."""
    try:
        yield
    except (ProviderFault, client.base_error, *_READING_ERRORS) as error:
        fault = error if isinstance(error, ProviderFault) else _fault_of(error, client.sdk, call)
        fault.response_model = spending.model
        fault.billed_usage = spending.estimate() if spending.opened or may_be_billed(fault, error) else None
        if fault is error:
            raise
        raise fault from error


def _fault_of(error: Exception, sdk: ModuleType, call: AnyCall) -> ProviderFault:
    if isinstance(error, sdk.APIStatusError):
        response: httpx2.Response = error.response
        return fault_of_error(
            error_of_body(response.content), status=response.status_code, headers=response.headers
        )
    # A timeout is a connection error, too.
    if isinstance(error, sdk.APIConnectionError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return transport_fault(error, call.timeouts)


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
