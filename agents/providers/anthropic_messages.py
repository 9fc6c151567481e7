"""Anthropic Messages."""

from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic, AsyncStream, DefaultAioHttpClient

from agents.providers.anthropic_assembly import AnthropicAssembly, read_answer
from agents.providers.anthropic_prompt import request_body
from agents.providers.faults import ProviderFault
from agents.providers.http_faults import (
    CONNECTIONS,
    connection_fault,
    http_timeout,
    malformed,
    status_fault,
    timeout_fault,
)
from agents.providers.pace import Pace
from agents.providers.port import CALL_ID_HEADER, Answer, ProviderCall, ProviderEvent
from agents.providers.spent import spending_faults
from streams.models import ProviderName

_PATH = "/v1/messages"
# The client's own default, 2026-10-21, refuses temperature and top_p, which senders may set and the models
# in our catalogue take.
_API_VERSION = "2023-06-01"


class AnthropicMessages:
    """Anthropic through its official client, which retries nothing by itself.

    Args:
        api_key: the key.
        base_url: the API's address; Anthropic's own where it is None.
    """

    name = ProviderName.ANTHROPIC

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        # The client's own second HTTP transport: it reads an event in two thirds of the first one's time.
        http = DefaultAioHttpClient(limits=CONNECTIONS)
        self._client = AsyncAnthropic(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)

    async def complete(self, call: ProviderCall) -> Answer:
        """Return the whole answer.

        Raises:
            ProviderFault: there is none.
        """
        with spending_faults(anthropic.AnthropicError, _fault, call):
            body = request_body(call)
            return read_answer(await Pace(call.timeouts).whole(self._post(call, body)), call)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece, and last the whole `Answer`.

        Raises:
            ProviderFault: the answer does not come, or breaks off.
        """
        pace, assembly = Pace(call.timeouts), AnthropicAssembly(call)
        with spending_faults(anthropic.AnthropicError, _fault, call, assembly):
            events = await pace.until_first_token(self._open(call, request_body(call)))
            assembly.opened = True
            try:
                async for event in pace.each(aiter(events)):
                    for piece in assembly.feed(event):
                        yield piece
                for piece in assembly.end():
                    yield piece
                yield assembly.answer()
            finally:
                await events.close()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    # The client's `post` rather than its `messages.create`: that one takes no temperature, and warns at every
    # call to a model that is to be retired. And plain JSON rather than its models: see `anthropic_shapes`.

    async def _post(self, call: ProviderCall, body: dict[str, Any]) -> object:
        return await self._client.post(_PATH, cast_to=object, body=body, options=_options(call))

    async def _open(self, call: ProviderCall, body: dict[str, Any]) -> AsyncStream[object]:
        return await self._client.post(
            _PATH,
            cast_to=object,
            body={**body, "stream": True},
            options=_options(call),
            stream=True,
            stream_cls=AsyncStream[object],
        )


def _options(call: ProviderCall) -> Any:
    headers = {CALL_ID_HEADER: call.call_id, "anthropic-version": _API_VERSION}
    if betas := call.params.get("betas"):
        headers["anthropic-beta"] = ",".join(betas)
    return {"headers": headers, "timeout": http_timeout(call.timeouts)}


def _fault(error: Exception, call: ProviderCall, chunks: int) -> ProviderFault:
    match error:
        case anthropic.APITimeoutError():
            return timeout_fault(error.__cause__, call.timeouts, chunks)
        case anthropic.APIConnectionError():
            return connection_fault(error.__cause__ or error, chunks)
        case anthropic.APIStatusError():
            return _spoken_fault(error)
        case httpx2.HTTPError():  # within a stream the client does not wrap them
            return connection_fault(error, chunks)
        case _:
            return malformed(error)


def _spoken_fault(error: anthropic.APIStatusError) -> ProviderFault:
    """Return the fault that the provider told of, by a status or by an event within the stream."""
    return status_fault(
        error.status_code,
        error.api_message or error.message,
        kind=error.type,
        headers=error.response.headers,
    )
