"""Exceptions of a call as faults, each with what the call may have cost."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError

from agents.providers.error_responses import error_of_body, fault_of_error
from agents.providers.faults import ConnectionLost, Malformed, ProviderFault, ProviderTimeout, Refused
from agents.providers.http_client import HTTP_ERRORS, StatusError
from agents.providers.provider import AnyCall, Timeouts
from agents.providers.usage import asked_tier
from streams.events import Usage

_MAX_CHARS = 500
_FIRST_REFUSAL = 400
#: What a call may raise: HTTP that fails, breaks off or is none, and what reading an answer raises that nests
#: too deeply or is of another shape.
_CALL_ERRORS = (
    StatusError,
    *HTTP_ERRORS,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
#: The provider was not reached: no connection to it or to the proxy, or an address that is none.
_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
#: The connection failed, or broke off.
_LOST = (OSError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, *_NEVER_CONNECTED)


class CallSpending:
    """What has come of an answer so far."""

    def __init__(self, call: AnyCall) -> None:
        self._call = call
        self.opened = False  # whether the provider has taken the call: from then on it bills the prompt
        self.model: str | None = None  # the one that answers, as the provider names it

    def estimate(self) -> Usage:
        """Return what a break at this point has cost, if the provider has taken the call: the prompt."""
        return Usage(
            input_tokens=self._call.input_tokens, estimated=True, service_tier=asked_tier(self._call)
        )


@contextmanager
def spending_faults(call: AnyCall, spending: CallSpending) -> Iterator[None]:
    """Turn the exceptions inside the block into faults that carry what was spent, where something was."""
    try:
        yield
    except (ProviderFault, *_CALL_ERRORS) as error:
        fault = error if isinstance(error, ProviderFault) else fault_of(error, call.timeouts)
        fault.response_model = spending.model
        fault.billed_usage = spending.estimate() if spending.opened or may_be_billed(fault, error) else None
        if fault is error:
            raise
        raise fault from error


def fault_of(error: Exception, timeouts: Timeouts) -> ProviderFault:
    """Return the fault for what sending a call, or reading its answer, has raised."""
    words = f"{type(error).__name__}: {str(error)[:_MAX_CHARS]}".removesuffix(": ")
    match error:
        case StatusError():
            return fault_of_error(error_of_body(error.body), status=error.status, headers=error.headers)
        case aiohttp.ConnectionTimeoutError():
            return ProviderTimeout("connect", after_s=timeouts.connect_s)
        case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
            return Malformed(f"the answer is not compressed as it says: {words}")
        case _ if isinstance(error, _LOST):
            return ConnectionLost(words)
        case aiohttp.ClientError() | HttpProcessingError():
            return Malformed(f"the answer is no HTTP response: {words}")
        case _:
            return Malformed(f"the answer could not be read: {words}")


def may_be_billed(fault: ProviderFault, error: BaseException) -> bool:
    """Tell whether a provider may bill a call that failed before any of its answer was read.

    It may where the request was sent and no refusal came back: the answer is generated, whether or not it
    arrives. A call that reached nobody, or that a status from 400 on has refused, is not billed.
    """
    if isinstance(error, StatusError):
        return error.status < _FIRST_REFUSAL
    if isinstance(fault, ProviderTimeout) and fault.phase == "connect":
        return False
    return not isinstance(fault, Refused) and not isinstance(error, _NEVER_CONNECTED)
