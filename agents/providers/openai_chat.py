"""OpenAI Chat Completions, or whatever speaks it (vLLM, Azure, the simulator)."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import msgspec
import openai
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from agents.providers.faults import ProviderFault
from agents.providers.http_faults import (
    CONNECTIONS,
    connection_fault,
    http_timeout,
    malformed,
    status_fault,
    timeout_fault,
)
from agents.providers.openai_assembly import OpenAIAssembly, read_answer
from agents.providers.pace import Pace
from agents.providers.port import CALL_ID_HEADER, Answer, ProviderCall, ProviderEvent
from agents.providers.spent import spending_faults
from streams.models import ProviderName

_PATH = "/chat/completions"
_ERROR_EVENT = 200  # the status of a stream in which an error is an event


class OpenAIChat:
    """OpenAI through its official client, which retries nothing by itself.

    Args:
        api_key: the key.
        base_url: the API's address; OpenAI's own where it is None.
    """

    name = ProviderName.OPENAI

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        # The client's own second HTTP transport: it reads a chunk in two thirds of the first one's time.
        http = DefaultAioHttpClient(limits=CONNECTIONS)
        self._client = AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)

    async def complete(self, call: ProviderCall) -> Answer:
        """Return the whole answer.

        Raises:
            ProviderFault: there is none.
        """
        with spending_faults(openai.OpenAIError, _fault, call):
            return read_answer(await Pace(call.timeouts).whole(self._post(call)), call)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece, and last the whole `Answer`.

        Raises:
            ProviderFault: the answer does not come, or breaks off.
        """
        pace, assembly = Pace(call.timeouts), OpenAIAssembly(call)
        with spending_faults(openai.OpenAIError, _fault, call, assembly):
            chunks = await pace.until_first_token(self._open(call))
            assembly.opened = True
            try:
                async for chunk in pace.each(aiter(chunks)):
                    for event in assembly.feed(chunk):
                        yield event
                yield assembly.answer()
            finally:
                await chunks.close()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    # The client's `post` rather than its `chat.completions.create`: that one walks through the whole body in
    # search of names to translate, and finds none: a quarter of what the client costs a call. And plain JSON
    # rather than its models: see `openai_shapes`.

    async def _post(self, call: ProviderCall) -> object:
        return await self._client.post(_PATH, cast_to=object, body=_body(call), options=_options(call))

    async def _open(self, call: ProviderCall) -> AsyncStream[object]:
        return await self._client.post(
            _PATH,
            cast_to=object,
            body={**_body(call), "stream": True, "stream_options": {"include_usage": True}},
            options=_options(call),
            stream=True,
            stream_cls=AsyncStream[object],
        )


def _options(call: ProviderCall) -> Any:
    return {
        "headers": {CALL_ID_HEADER: call.call_id},
        "timeout": http_timeout(call.timeouts),
        "security": {"bearer_auth": True},
    }


def _body(call: ProviderCall) -> dict[str, Any]:
    given = {
        "temperature": call.temperature,
        "top_p": call.top_p,
        "stop": list(call.stop) or None,
        "seed": call.seed,
        "response_format": call.response_format,
        "tools": list(call.tools) or None,
        "tool_choice": call.tool_choice if call.tools else None,
        "user": call.user,
    }
    return {
        "model": call.model,
        "messages": msgspec.to_builtins(call.messages),
        "max_completion_tokens": call.max_output_tokens,
        **{name: value for name, value in given.items() if value is not None},
    }


def _fault(error: Exception, call: ProviderCall, chunks: int) -> ProviderFault:
    match error:
        case openai.APITimeoutError():
            return timeout_fault(error.__cause__, call.timeouts, chunks)
        case openai.APIConnectionError():
            return connection_fault(error.__cause__ or error, chunks)
        case openai.APIError():
            return _spoken_fault(error)
        case httpx2.HTTPError():
            return connection_fault(error, chunks)
        case _:
            return malformed(error)


def _spoken_fault(error: openai.APIError) -> ProviderFault:
    """Return the fault that the provider told of, by a status or by an event within the stream."""
    status, headers = _ERROR_EVENT, None
    if isinstance(error, openai.APIStatusError):
        status, headers = error.status_code, error.response.headers
    return status_fault(
        status, _words(error), kind=error.type, code=error.code, param=error.param, headers=headers
    )


def _words(error: openai.APIError) -> str:
    """Return the provider's own words, without the status line that the client puts before them."""
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return message if isinstance(message, str) else error.message
