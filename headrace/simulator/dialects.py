"""The two chat APIs side by side: everything in which they differ, so that serving a call is one path."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from headrace.simulator import anthropic_reply, anthropic_request, openai_reply, openai_request
from headrace.simulator.allowance import Standing
from headrace.simulator.asking import Ask
from headrace.simulator.generation import Generation
from headrace.simulator.misfits import as_anthropic, as_openai
from headrace.simulator.refusals import Refusal, anthropic_error, encode, openai_error
from headrace.simulator.scripts import Envelope, StreamScript
from headrace.simulator.shapes import Misfit
from streams.models import Model, ProviderName

HeaderList = list[tuple[str, str]]
_MAX_SHOWN_KEY_CHARS = 4


class Keys:
    """Which API keys are taken: the given ones, or by default any that begins like a real one."""

    def __init__(self, accepted: frozenset[str] = frozenset()) -> None:
        self._accepted = accepted

    def take(self, key: str) -> bool:
        """Tell whether a key is taken."""
        return key in self._accepted if self._accepted else key.startswith("sk-")


class Dialect(Protocol):
    """One provider's API."""

    provider: ProviderName
    request_id_header: str
    id_prefix: str

    def authorise(self, headers: Mapping[str, str], keys: Keys) -> None:
        """Check key and version headers; raise `Refusal`."""

    def refuse_misfit(self, misfit: Misfit) -> Refusal:
        """Put a misfit in this API's words."""

    def unreadable(self, reason: str) -> Refusal:
        """Answer a body that is not JSON."""

    def unsupported_schema(self, reason: str) -> Refusal:
        """Answer a JSON Schema that nothing was found for."""

    def error_body(self, refusal: Refusal, request_id: str) -> bytes:
        """Render an error."""

    def read(self, body: Any, headers: Mapping[str, str], models: Mapping[str, Model]) -> Ask:
        """Read a chat request; raise `Misfit` or `Refusal`."""

    def reply(self, ask: Ask, made: Generation, envelope: Envelope) -> bytes:
        """Render a whole reply."""

    def script(
        self, ask: Ask, made: Generation, envelope: Envelope, chunk_chars: int | list[int] | None
    ) -> StreamScript:
        """Render a streamed reply."""

    def broken_frame(self) -> bytes:
        """Render an event whose JSON is broken."""

    def error_frame(self, refusal: Refusal) -> bytes:
        """Render an error in the middle of a stream."""

    def overloaded(self, headers: HeaderList) -> Refusal:
        """Answer as an overloaded service."""

    def limited(self, standing: Standing | None, retry_after_s: float) -> Refusal:
        """Answer a call beyond the rate limit."""

    def limit_headers(self, standing: Standing) -> HeaderList:
        """Render the rate limit headers."""


def _retry_after(seconds: float) -> HeaderList:
    return [("retry-after", f"{seconds:g}")]


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class OpenAI:
    """The OpenAI API."""

    provider = ProviderName.OPENAI
    request_id_header = "x-request-id"
    id_prefix = "chatcmpl-"

    def authorise(self, headers: Mapping[str, str], keys: Keys) -> None:
        """Take `Authorization: Bearer KEY`."""
        key = _bearer(headers)
        if not key:
            raise Refusal(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header "
                "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        if not keys.take(key):
            shown = key[:_MAX_SHOWN_KEY_CHARS] + "*" * max(0, len(key) - _MAX_SHOWN_KEY_CHARS)
            raise Refusal(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")

    def refuse_misfit(self, misfit: Misfit) -> Refusal:
        """Put a misfit in OpenAI's words."""
        return as_openai(misfit)

    def unreadable(self, reason: str) -> Refusal:
        """Answer a body that is not JSON."""
        return Refusal(400, f"We could not parse the JSON body of your request. ({reason})")

    def unsupported_schema(self, reason: str) -> Refusal:
        """Answer a JSON Schema that nothing was found for."""
        return Refusal(400, f"Invalid schema: {reason}.", param="response_format")

    def error_body(self, refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG002  (part of the protocol)
        """Render an error."""
        return encode(openai_error(refusal))

    def read(
        self,
        body: Any,
        headers: Mapping[str, str],  # noqa: ARG002  (part of the protocol)
        models: Mapping[str, Model],
    ) -> Ask:
        """Read a chat request."""
        return openai_request.read_request(body, models)

    def reply(self, ask: Ask, made: Generation, envelope: Envelope) -> bytes:
        """Render a whole reply."""
        return openai_reply.completion(ask, made, envelope)

    def script(
        self, ask: Ask, made: Generation, envelope: Envelope, chunk_chars: int | list[int] | None
    ) -> StreamScript:
        """Render a streamed reply."""
        return openai_reply.stream_script(ask, made, envelope, chunk_chars)

    def broken_frame(self) -> bytes:
        """Render an event whose JSON is broken."""
        return b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"ind\n\n'

    def error_frame(self, refusal: Refusal) -> bytes:
        """Render an error in the middle of a stream."""
        return openai_reply.stream_error(refusal.message, refusal.kind)

    def overloaded(self, headers: HeaderList) -> Refusal:
        """Answer as an overloaded service."""
        message = "The engine is currently overloaded, please try again later."
        return Refusal(503, message, kind="service_unavailable_error", headers=tuple(headers))

    def limited(self, standing: Standing | None, retry_after_s: float) -> Refusal:
        """Answer a call beyond the rate limit."""
        scarce = standing.scarce if standing else "requests"
        message = f"Rate limit reached on {scarce} per min. Please try again in {retry_after_s:g}s."
        headers = [*_retry_after(retry_after_s), ("retry-after-ms", f"{retry_after_s * 1000:.0f}")]
        return Refusal(429, message, kind=scarce, code="rate_limit_exceeded", headers=tuple(headers))

    def limit_headers(self, standing: Standing) -> HeaderList:
        """Render the `x-ratelimit-*` headers."""
        return [
            ("x-ratelimit-limit-requests", str(standing.limit_requests)),
            ("x-ratelimit-remaining-requests", str(standing.remaining_requests)),
            ("x-ratelimit-reset-requests", f"{standing.reset_requests_s * 1000:.0f}ms"),
            ("x-ratelimit-limit-tokens", str(standing.limit_tokens)),
            ("x-ratelimit-remaining-tokens", str(standing.remaining_tokens)),
            ("x-ratelimit-reset-tokens", f"{standing.reset_tokens_s * 1000:.0f}ms"),
            ("openai-version", "2020-10-01"),
        ]


class Anthropic:
    """The Anthropic API; `now` stamps its rate limit headers."""

    provider = ProviderName.ANTHROPIC
    request_id_header = "request-id"
    id_prefix = "msg_"

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    def authorise(self, headers: Mapping[str, str], keys: Keys) -> None:
        """Take `x-api-key: KEY` (or a bearer token) and `anthropic-version`."""
        key = headers.get("x-api-key") or _bearer(headers)
        if not key:
            raise Refusal(401, "x-api-key header is required")
        if not keys.take(key):
            raise Refusal(401, "invalid x-api-key")
        version = headers.get("anthropic-version")
        if version is None:
            raise Refusal(400, "anthropic-version: header is required")
        if version not in anthropic_request.VERSIONS:
            raise Refusal(400, f'anthropic-version: "{version}" is not a valid version')

    def refuse_misfit(self, misfit: Misfit) -> Refusal:
        """Put a misfit in Anthropic's words."""
        return as_anthropic(misfit)

    def unreadable(self, reason: str) -> Refusal:
        """Answer a body that is not JSON."""
        return Refusal(400, f"The request body is not valid JSON: {reason}")

    def unsupported_schema(self, reason: str) -> Refusal:
        """Answer a JSON Schema that nothing was found for."""
        return Refusal(400, f"Invalid schema: {reason}.")

    def error_body(self, refusal: Refusal, request_id: str) -> bytes:
        """Render an error."""
        return encode(anthropic_error(refusal, request_id))

    def read(self, body: Any, headers: Mapping[str, str], models: Mapping[str, Model]) -> Ask:
        """Read a chat request."""
        return anthropic_request.read_request(body, models, headers["anthropic-version"])

    def reply(self, ask: Ask, made: Generation, envelope: Envelope) -> bytes:
        """Render a whole reply."""
        return anthropic_reply.message(ask, made, envelope)

    def script(
        self, ask: Ask, made: Generation, envelope: Envelope, chunk_chars: int | list[int] | None
    ) -> StreamScript:
        """Render a streamed reply."""
        return anthropic_reply.stream_script(ask, made, envelope, chunk_chars)

    def broken_frame(self) -> bytes:
        """Render an event whose JSON is broken."""
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n'

    def error_frame(self, refusal: Refusal) -> bytes:
        """Render an error in the middle of a stream."""
        error = anthropic_error(refusal, "")["error"]
        return anthropic_reply.stream_error(error["type"], error["message"])

    def overloaded(self, headers: HeaderList) -> Refusal:
        """Answer as an overloaded service."""
        return Refusal(529, "Overloaded", headers=tuple(headers))

    def limited(self, standing: Standing | None, retry_after_s: float) -> Refusal:
        """Answer a call beyond the rate limit."""
        scarce = standing.scarce if standing else "requests"
        message = f"This request would exceed your rate limit of {scarce} per minute."
        return Refusal(429, message, headers=tuple(_retry_after(retry_after_s)))

    def limit_headers(self, standing: Standing) -> HeaderList:
        """Render the `anthropic-ratelimit-*` headers."""
        headers: HeaderList = [("anthropic-organization-id", "org-simulated")]
        for name, limit, remaining, reset_s in (
            ("requests", standing.limit_requests, standing.remaining_requests, standing.reset_requests_s),
            ("input-tokens", standing.limit_tokens, standing.remaining_tokens, standing.reset_tokens_s),
        ):
            full_at = self._now() + timedelta(seconds=reset_s)
            headers += [
                (f"anthropic-ratelimit-{name}-limit", str(limit)),
                (f"anthropic-ratelimit-{name}-remaining", str(remaining)),
                (f"anthropic-ratelimit-{name}-reset", full_at.strftime("%Y-%m-%dT%H:%M:%SZ")),
            ]
        return headers
