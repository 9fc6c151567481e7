"""From a provider's response to our `Answer`, whole or piece by piece: one way for every chat API."""

from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import aclosing, contextmanager

import httpx2

from agents.providers.answers.assembly import Assembly
from agents.providers.answers.body import AnswerBody
from agents.providers.faults import ProviderTimeout
from agents.providers.official_clients import ClientErrors
from agents.providers.port import Answer, ProviderCall, ProviderEvent
from agents.providers.spent import spending_faults
from agents.providers.timeouts import Pace


@contextmanager
def _over_once_ended(assembly: Assembly) -> Iterator[None]:
    """Take a connection that breaks, or falls silent, behind the finish reason for the end of the answer."""
    try:
        yield
    except (ProviderTimeout, httpx2.HTTPError):
        if not assembly.ended:
            raise


async def read_whole(
    opening: Awaitable[httpx2.Response], call: ProviderCall, assembly: Assembly, errors: ClientErrors
) -> Answer:
    """Return the answer to a call that is made whole.

    Args:
        opening: makes the call.
        call: the call.
        assembly: puts its answer together.
        errors: the client's exceptions.

    Raises:
        ProviderFault: there is none.
    """
    with spending_faults(errors, call, assembly):
        return await Pace(call.timeouts).whole(_gathered(opening, assembly))


async def _gathered(opening: Awaitable[httpx2.Response], assembly: Assembly) -> Answer:
    async with aclosing(AnswerBody(await opening)) as body:
        assembly.opened = True
        async with aclosing(body.values()) as values:
            with _over_once_ended(assembly):
                async for value in values:
                    for _ in assembly.feed(value):
                        pass
                    if assembly.done:
                        break
        for _ in assembly.end():
            pass
        return assembly.answer()


async def read_stream(
    opening: Awaitable[httpx2.Response], call: ProviderCall, assembly: Assembly, errors: ClientErrors
) -> AsyncGenerator[ProviderEvent]:
    """Yield the answer piece by piece, and last the whole `Answer`. The arguments are those of `read_whole`.

    Raises:
        ProviderFault: the answer does not come, or breaks off.
    """
    pace = Pace(call.timeouts)
    with spending_faults(errors, call, assembly):
        async with aclosing(AnswerBody(await pace.until_first_token(opening))) as body:
            assembly.opened = True
            async with aclosing(body.values()) as values, aclosing(pace.each(values)) as paced:
                with _over_once_ended(assembly):
                    async for value in paced:
                        for event in assembly.feed(value):
                            yield event
                        if assembly.done:
                            break
            for event in assembly.end():
                yield event
            yield assembly.answer()
