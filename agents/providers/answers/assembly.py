"""What assembling an answer has in common in every chat API: text, tool calls and usage come, and it ends."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from agents.providers.answers import tool_calls
from agents.providers.answers.body import Value
from agents.providers.answers.finish_reasons import of_several
from agents.providers.answers.text import AnswerText, check_size
from agents.providers.answers.tool_calls import ToolCall
from agents.providers.faults import ConnectionLost, Malformed
from agents.providers.provider import Answer, ProviderCall, ProviderEvent, TextDelta
from agents.providers.spending import CallSpending
from agents.providers.usage import asked_tier, count_output, estimate, tier_name
from streams.events import Usage


class Assembly(CallSpending, ABC):
    """Puts the JSON values of one answer together, whether they are pieces of it or the whole.

    Attributes:
        chunks: how many pieces of the answer came.
        ended: whether it has named a finish reason, and gone on no more.
        done: whether it says that nothing follows.
    """

    #: What the API calls its finish reason.
    finish_field: ClassVar[str]
    #: What is wrong with an answer that ends to call tools, and calls none.
    without_tools: ClassVar[str]

    def __init__(self, call: ProviderCall) -> None:
        super().__init__(call)
        self._call: ProviderCall = call
        self._text = AnswerText()
        self._usage: Usage | None = None
        self._tier: object = None
        self._finish: list[str] = []
        self.chunks = 0
        self.ended = False
        self.done = False

    @abstractmethod
    def feed(self, value: Value) -> Iterator[ProviderEvent]:
        """Take the next value, and yield what it brings.

        Raises:
            ProviderFault: it tells of an error, or is not what the API documents.
        """

    @property
    @abstractmethod
    def _calls(self) -> list[ToolCall]:
        """The tool calls that have begun."""

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
        finish, tools = of_several(self._finish), tool_calls.told(self._calls, self._call.call_id)
        if finish == "tool_calls" and not tools:
            raise Malformed(self.without_tools)
        check_size(self._text.told, tools)
        return Answer(
            text=self._text.told,
            model=self.model or self._call.model,
            finish_reason=finish,
            usage=self._usage or self.estimate(),
            tool_calls=tools,
        )

    def estimate(self) -> Usage:
        """Return what a break at this point has cost, if the provider has taken the call."""
        return estimate(
            input_tokens=self._call.input_tokens,
            text=self._text.told,
            tool_calls=tool_calls.begun(self._calls),
            reported=self._usage,
            service_tier=tier_name(self._tier) if self.chunks else asked_tier(self._call),
        )

    def _said(self, piece: str) -> Iterator[ProviderEvent]:
        if piece:
            self.ended = False  # an answer that goes on has not ended, whatever it has said before
        told = self._text.feed(piece)
        if told:
            yield TextDelta(told)

    def _finished(self, reason: str) -> None:
        if reason.strip():
            self._finish.append(reason)
            self.ended = True

    def _count_output(self) -> int:
        return count_output(self._text.told, tool_calls.begun(self._calls))
