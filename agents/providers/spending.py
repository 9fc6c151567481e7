"""What a call has spent when it fails: every exception becomes a fault that carries it."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx2

from agents.providers.faults import ProviderFault
from agents.providers.provider import AnyCall
from agents.providers.sdk_client import SdkErrors
from agents.providers.transport_faults import may_be_billed
from agents.providers.usage import asked_tier
from streams.events import Usage

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
def spending_faults(errors: SdkErrors, call: AnyCall, spending: CallSpending) -> Iterator[None]:
    """Turn the exceptions inside the block into faults.

    Raises:
        ProviderFault: with what was spent, where something was.
    """
    try:
        yield
    except (ProviderFault, errors.base, *_READING_ERRORS) as error:
        fault = error if isinstance(error, ProviderFault) else errors.fault_of(error, call)
        fault.response_model = spending.model
        fault.billed_usage = spending.estimate() if spending.opened or may_be_billed(fault, error) else None
        if fault is error:
            raise
        raise fault from error
