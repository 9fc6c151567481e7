"""`ChatApi`: what the adapters of all chat APIs have in common. It sends a call and reads the answer."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

import httpx2

from agents.providers.answers.assembly import Assembly
from agents.providers.answers.body import AnswerBody
from agents.providers.faults import ProviderTimeout
from agents.providers.provider import ProviderCall, ProviderEvent
from agents.providers.sdk_calls import PhaseTimeouts, SdkClient, spending_faults


class ChatApi(ABC):
    """A chat API: where it is, what it is sent, and how its answer is assembled. The rest is done here."""

    path: ClassVar[str]
    assembly: ClassVar[type[Assembly]]

    def __init__(self, client: SdkClient) -> None:
        self._client = client

    @abstractmethod
    def body(self, call: ProviderCall) -> dict[str, Any]:
        """Return the body of the request; `Refused` where it cannot be said in the API's terms."""

    def headers(self, call: ProviderCall) -> Mapping[str, str]:  # noqa: ARG002  # for those that need it
        """Return what the headers say beside what the SDK knows."""
        return {}

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece where `call.stream`, and last the whole `Answer`."""
        assembly, clock = self.assembly(call), PhaseTimeouts(call.timeouts, stream=call.stream)
        with spending_faults(self._client, call, assembly):
            opening = self._client.post(self.path, self.body(call), call, self.headers(call))
            async with aclosing(AnswerBody(await clock.wait(opening))) as body:
                assembly.opened = True
                async with aclosing(body.values()) as values, aclosing(clock.each(values)) as timed:
                    try:
                        async for value in timed:
                            for event in assembly.feed(value):
                                if call.stream:
                                    yield event
                            if assembly.done:
                                break
                    except (ProviderTimeout, httpx2.HTTPError):
                        # A break or a silence after the finish reason is the end of the answer.
                        if not assembly.ended:
                            raise
                for event in assembly.end():
                    if call.stream:
                        yield event
                yield assembly.answer()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
