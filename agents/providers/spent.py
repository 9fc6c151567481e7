"""The frame around a call: whatever its client raises becomes a fault that knows what was spent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from agents.providers.faults import ProviderFault
from agents.providers.http_faults import may_be_billed
from agents.providers.official_clients import READING_ERRORS, ClientErrors
from agents.providers.port import AnyCall
from agents.providers.usage import asked_tier
from streams.events import Usage


class Spending(Protocol):
    """What has come of an answer so far."""

    chunks: int
    model: str | None

    def billed(self) -> Usage | None:
        """Return what the provider bills for it, as far as is known."""
        ...


@contextmanager
def spending_faults(errors: ClientErrors, call: AnyCall, spending: Spending) -> Iterator[None]:
    """Turn the client's exceptions inside the block into faults.

    Args:
        errors: the client's own exceptions.
        call: the call that is made.
        spending: what comes of it.

    Raises:
        ProviderFault: with what was spent, where something was.
    """
    try:
        yield
    except (ProviderFault, errors.base, *READING_ERRORS) as error:
        fault = error if isinstance(error, ProviderFault) else errors.fault_of(error, call, spending.chunks)
        fault.billed_usage, fault.response_model = spending.billed(), spending.model
        if fault.billed_usage is None and may_be_billed(fault, error):
            fault.billed_usage = Usage(
                input_tokens=call.input_tokens, estimated=True, service_tier=asked_tier(call)
            )
        if fault is error:
            raise
        raise fault from error
