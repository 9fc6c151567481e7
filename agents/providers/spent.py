"""The frame around a provider: its client's exceptions become faults that know what was spent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import httpx2

from agents.providers.faults import ProviderFault
from agents.providers.http_faults import PARSE_ERRORS, may_be_billed
from agents.providers.port import AnyCall
from streams.events import Usage

C = TypeVar("C", bound=AnyCall)


class Assembly(Protocol):
    """What has come of a streamed answer so far."""

    chunks: int
    model: str | None

    def billed(self) -> Usage | None:
        """Return what the provider bills for it, as far as is known."""
        ...


@contextmanager
def spending_faults(
    client_error: type[Exception],
    translate: Callable[[Exception, C, int], ProviderFault],
    call: C,
    assembly: Assembly | None = None,
) -> Iterator[None]:
    """Turn the client's exceptions inside the block into faults.

    Args:
        client_error: the base of the client's own exceptions.
        translate: returns the fault for an exception, given the call and the chunks that came before it.
        call: the call that is made.
        assembly: of a streamed answer; None where it comes whole.

    Raises:
        ProviderFault: with what was spent, where something was.
    """
    try:
        yield
    except (ProviderFault, client_error, httpx2.HTTPError, *PARSE_ERRORS) as error:
        chunks = assembly.chunks if assembly else 0
        fault = error if isinstance(error, ProviderFault) else translate(error, call, chunks)
        if assembly is not None:
            fault.billed_usage, fault.response_model = assembly.billed(), assembly.model
        if fault.billed_usage is None and may_be_billed(fault, error):
            fault.billed_usage = Usage(input_tokens=call.input_tokens, estimated=True)
        if fault is error:
            raise
        raise fault from error
