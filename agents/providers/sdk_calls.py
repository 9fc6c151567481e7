"""Calls to a provider through its official SDK: the client, the timeout of each phase, and what may fail.

The SDKs are used for HTTP, authentication and the names of their errors. The response is read here, and not
by the SDK: its models and streams drop what compatible servers word otherwise.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

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
from agents.providers.provider import CALL_ID_HEADER, AnyCall, Timeouts
from agents.providers.usage import asked_tier
from streams.events import Usage

#: More than a worker ever opens: its calls in flight bound it. Idle connections are closed after a few
#: seconds.
_CONNECTIONS = httpx2.Limits(max_connections=10_000)
#: Of an error response: the rest is not read.
_MAX_ERROR_BYTES = 256 * 1024
T = TypeVar("T")
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


class SdkClient:
    """One SDK's client, which retries nothing by itself.

    `base_url` None is the provider's own address. `options` are what every request tells the SDK beside
    headers and timeouts.
    """

    def __init__(
        self,
        sdk: ModuleType,
        client: type[Any],
        *,
        api_key: str,
        base_url: str | None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.sdk = sdk
        self.base_error: type[Exception] = sdk.APIError.__base__  # `OpenAIError`, `AnthropicError`
        # The SDK's second HTTP transport reads a chunk in two thirds of the first one's time.
        http: httpx2.AsyncClient = sdk.DefaultAioHttpClient(limits=_CONNECTIONS)
        http.follow_redirects = False  # a redirect would send the key and the prompt to wherever it says
        http.event_hooks = {"response": [_shorten]}
        self._client = client(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)
        self._options = options or {}

    async def post(
        self, path: str, body: Mapping[str, Any], call: AnyCall, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Send a call; return its response, of which the body is not read yet.

        The SDK's `post` rather than its `create`: OpenAI's walks through the whole body in search of names to
        translate, a quarter of what the SDK costs a call; Anthropic's takes no temperature, and warns at
        every call to a model that is to be retired.
        """
        timeouts = call.timeouts
        response: httpx2.Response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            body=body,
            options={
                **self._options,
                "headers": {CALL_ID_HEADER: call.call_id, **(headers or {})},
                # Reading ends with the whole call: `PhaseTimeouts` times the phases.
                "timeout": httpx2.Timeout(
                    timeouts.total_s, connect=timeouts.connect_s, pool=timeouts.connect_s
                ),
            },
            stream=True,
            stream_cls=self.sdk.AsyncStream[object],
        )
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


async def _shorten(response: httpx2.Response) -> None:
    if not response.is_success:
        response.stream = _Beginning(response.stream)


class _Beginning(httpx2.AsyncByteStream):
    """The first `_MAX_ERROR_BYTES` of a body."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = _MAX_ERROR_BYTES
        async for piece in self._body:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._body.aclose()


class PhaseTimeouts:
    """The clock of one call. It starts when it is made.

    The total alone counts where the answer comes whole, that is without `stream`.
    """

    def __init__(self, timeouts: Timeouts, *, stream: bool) -> None:
        now = asyncio.get_running_loop().time()
        self._timeouts = timeouts
        self._stream = stream
        self._ends_at = now + timeouts.total_s
        self._first_token_by = now + timeouts.first_token_s
        self._begun = False

    async def wait(self, work: Awaitable[T]) -> T:
        """Wait for `work` within the call's phase; past its limit cancel it and raise `ProviderTimeout`."""
        phase, by = self._limit()
        try:
            async with asyncio.timeout_at(by) as limit:
                return await work
        except TimeoutError as fault:
            if not limit.expired():
                raise
            raise ProviderTimeout(phase, after_s=self._timeouts.of(phase)) from fault

    async def each(self, chunks: AsyncIterator[T]) -> AsyncGenerator[T]:
        """Yield the chunks of an answer, each within its time, as `wait` does."""
        while True:
            try:
                chunk = await self.wait(anext(chunks))
            except StopAsyncIteration:
                return
            self._begun = True
            yield chunk

    def _limit(self) -> tuple[str, float]:
        phase, by = "first_token", self._first_token_by
        if self._begun:
            by = asyncio.get_running_loop().time() + self._timeouts.between_tokens_s
            phase = "between_tokens"
        return (phase, by) if self._stream and by < self._ends_at else ("total", self._ends_at)


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
