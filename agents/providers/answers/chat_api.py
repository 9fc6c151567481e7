"""What the adapters of all chat APIs have in common.

`ChatApi` sends a call and reads the answer. An `Assembly` puts the answer together from its pieces: text,
tool calls, usage and finish reason.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Final

import msgspec

from agents.providers.answers import tool_calls
from agents.providers.answers.body import DONE, AnswerBody, Value
from agents.providers.answers.encodable import encodable
from agents.providers.answers.tool_calls import ToolCall
from agents.providers.call_faults import CallSpending, spending_faults
from agents.providers.faults import (
    ConnectionLost,
    Malformed,
    Overloaded,
    ProviderFault,
    ProviderTimeout,
    ServerFault,
    UnusableAnswer,
)
from agents.providers.http_client import HTTP_ERRORS, HttpClient
from agents.providers.phase_timeouts import PhaseTimeouts
from agents.providers.provider import Answer, ProviderCall, ProviderEvent, TextDelta, UsageKnown
from agents.providers.usage import (
    ReportedUsage,
    asked_tier,
    count_output,
    estimate,
    plausible_usage,
    tier_name,
)
from streams.events import Usage
from streams.topics import MAX_ANSWER_BYTES

_MAX_SHOWN = 100
#: Every provider's word for why a model stopped is one of OpenAI's four. A word that is not in the table may
#: mean that the answer is half of one: such a call has failed. Of several, the last in this list stands.
_RANK: Final = ("stop", "tool_calls", "length", "content_filter")
_WORDS: Final = {
    "stop": (
        "stop eos eos_token end_turn end stop_sequence stop_token stop_words complete completed finished "
        "done natural finish_reason_stop"
    ),
    "length": (
        "length max_tokens max_output_tokens max_new_tokens max_length max_context_length model_length "
        "model_context_window_exceeded context_length context_length_exceeded token_limit limit pause_turn "
        "finish_reason_length finish_reason_max_tokens"
    ),
    "tool_calls": "tool_calls tool_call tool_use tool function_call function_calls functions",
    "content_filter": (
        "content_filter content_filtered content_filtering safety recitation blocklist prohibited_content "
        "spii image_safety language guardrail_intervened guardrails refusal moderation sensitive "
        "finish_reason_content_filter finish_reason_safety"
    ),
}
_UNDERSTOOD: Final = {word: reason for reason, words in _WORDS.items() for word in words.split()}
_FAILED: Final = frozenset(
    (
        "error errored failed failure abort aborted cancel cancelled canceled interrupted incomplete timeout "
        "network_error server_error internal_error model_error error_limit error_toxic "
        "malformed_function_call malformed_tool_call unexpected_tool_call malformed_response "
        "malformed_model_output other unknown unspecified finish_reason_unspecified rejected"
    ).split()
)
_OVERLOADED: Final = frozenset({"insufficient_system_resource", "overloaded", "capacity"})


def finish_reason(said: list[str]) -> str:
    """Return OpenAI's word for the finish reasons that one answer names, at least one.

    A word for a failure, or one that is in no table, is a `ProviderFault`.
    """
    return max((_understood(each) for each in said), key=_RANK.index)


def _understood(said: str) -> str:
    word = said.strip().lower().replace("-", "_").replace(" ", "_")
    reason = _UNDERSTOOD.get(word)
    if reason is None:
        raise _fault(word, encodable(said[:_MAX_SHOWN]))
    return reason


def _fault(word: str, shown: str) -> ProviderFault:
    if word in _OVERLOADED:
        return Overloaded(f"the provider broke off its answer: finish_reason {shown!r}")
    if word in _FAILED:
        return ServerFault(f"the provider's answer failed: finish_reason {shown!r}")
    return UnusableAnswer(f"the provider ended its answer with an unknown finish_reason, {shown!r}")


_FIRST_HALVES = range(0xD800, 0xDC00)


class AnswerText:
    r"""Puts a text together, encodable and bounded. Half a character is held back until the other comes.

    text = AnswerText()
    text.feed("Hi \ud83d")  # "Hi "
    text.feed("\ude00!")  # "😀!"
    text.end()  # ""
    """

    def __init__(self) -> None:
        self._half = ""
        self._pieces: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def feed(self, piece: str) -> str:
        """Return the text that is complete with this piece; it may be empty."""
        text = self._half + piece
        self._half = text[-1:] if text and ord(text[-1]) in _FIRST_HALVES else ""
        return self._append(text.removesuffix(self._half) if self._half else text)

    def end(self) -> str:
        """Return what is left of the text: U+FFFD for a half that is still alone."""
        half, self._half = self._half, ""
        return self._append(half)

    def rest_of(self, whole: str) -> str:
        """Return what a whole text adds to the pieces that came before it, with which it must begin."""
        if not self._pieces:
            return whole
        self._half = ""
        whole, so_far = encodable(whole), self.text
        if not whole.startswith(so_far):
            raise Malformed("the whole message at the end of the stream is not what its pieces have said")
        return whole[len(so_far) :]

    def count(self, chars: int) -> None:
        """Count what belongs to the answer beside its text: together they are bounded."""
        self._size += chars
        if self._size > MAX_ANSWER_BYTES:
            raise UnusableAnswer(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")

    def _append(self, text: str) -> str:
        text = encodable(text)
        if text:
            self._pieces.append(text)
            self.count(len(text))
        return text


class Assembly(CallSpending, ABC):
    """Puts the JSON values of one answer together, whether they are pieces of it or the whole."""

    #: What the API calls its finish reason.
    finish_field: ClassVar[str]

    def __init__(self, call: ProviderCall) -> None:
        super().__init__(call)
        self._call: ProviderCall = call
        self._text = AnswerText()
        self._calls: list[ToolCall] = []
        self._usage: Usage | None = None
        self._tier: object = None
        self._finish: list[str] = []
        self.chunks = 0
        self.ended = False  # whether it has named a finish reason, and gone on no more
        self.done = False  # whether it says that nothing follows

    def feed(self, value: Value) -> Iterator[ProviderEvent]:
        """Take the next value, and yield what it brings."""
        if value.json is DONE:
            self.done = True
            return
        self.chunks += 1
        yield from self._take(value)

    @abstractmethod
    def _take(self, value: Value) -> Iterator[ProviderEvent]:
        """Take a value that is not `DONE`."""

    def end(self) -> Iterator[ProviderEvent]:
        """Yield what is left of the text, after the last value."""
        rest = self._text.end()
        if rest:
            yield TextDelta(rest)

    def answer(self) -> Answer:
        """Return the whole answer, after the last value.

        Raises:
            ProviderFault: the stream ended before the answer did, or it says that it is not whole.
        """
        if not self.ended:
            if self.chunks and self.done:
                raise Malformed(f"the answer ended without a {self.finish_field}")
            raise ConnectionLost("the stream ended before the answer did")
        finish, tools = finish_reason(self._finish), tool_calls.as_openai(self._calls, self._call.call_id)
        if finish == "tool_calls" and not tools:
            raise Malformed("the answer says that it calls tools, and calls none")
        if len(msgspec.json.encode((self._text.text, tools))) > MAX_ANSWER_BYTES:
            raise UnusableAnswer(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return Answer(
            text=self._text.text,
            model=self.model or self._call.model,
            finish_reason=finish,
            usage=self._usage or self.estimate(),
            tool_calls=tools,
        )

    def estimate(self) -> Usage:
        """Return what a break at this point has cost, if the provider has taken the call."""
        return estimate(
            input_tokens=self._call.input_tokens,
            text=self._text.text,
            tool_calls=tool_calls.partial(self._calls),
            reported=self._usage,
            service_tier=tier_name(self._tier) if self.chunks else asked_tier(self._call),
        )

    def _add_text(self, piece: str) -> Iterator[ProviderEvent]:
        if piece:
            self.ended = False  # an answer that goes on has not ended, whatever it has said before
        text = self._text.feed(piece)
        if text:
            yield TextDelta(text)

    def _add_finish_reason(self, reason: str) -> None:
        if reason.strip():
            self._finish.append(reason)
            self.ended = True

    def _add_usage(self, reported: ReportedUsage) -> UsageKnown:
        self._usage = plausible_usage(
            reported,
            self._call,
            count_output=lambda: count_output(self._text.text, tool_calls.partial(self._calls)),
        )
        return UsageKnown(self._usage, self.model or self._call.model)


class ChatApi(ABC):
    """A chat API: where it is, what it is sent, and how its answer is assembled. The rest is done here."""

    path: ClassVar[str]
    assembly: ClassVar[type[Assembly]]

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    @abstractmethod
    def body(self, call: ProviderCall) -> dict[str, Any]:
        """Return the body of the request; `Refused` where it cannot be said in the API's terms."""

    def headers(self, call: ProviderCall) -> Mapping[str, str]:  # noqa: ARG002  # for those that need it
        """Return the headers of this call beside those of every call."""
        return {}

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece where `call.stream`, and last the whole `Answer`."""
        assembly, clock = self.assembly(call), PhaseTimeouts(call.timeouts, stream=call.stream)
        with spending_faults(call, assembly):
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
                    except (ProviderTimeout, *HTTP_ERRORS):
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
