"""Chat Completions answers, whole or in chunks, as our `Answer`."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from agents.providers.encodable import TextPieces, encodable, encodable_json
from agents.providers.faults import ConnectionLost, Malformed
from agents.providers.openai_shapes import Chunk, Completion, ToolPiece
from agents.providers.port import Answer, ProviderCall, ProviderEvent, TextDelta, UsageKnown
from agents.providers.usage import Reported, believed, count_output, estimate, tier_name
from streams.events import Usage

# The deprecated function calls end with a reason of their own.
_FINISH = {"function_call": "tool_calls"}


def read_usage(
    usage: object, call: ProviderCall, *, service_tier: object, count_output: Callable[[], int]
) -> Usage | None:
    """Return the usage as far as it can be believed; None where the provider reports none."""
    if not isinstance(usage, dict) or usage.get("prompt_tokens") is None:
        return None
    prompt, output = _object(usage, "prompt_tokens_details"), _object(usage, "completion_tokens_details")
    reported = Reported(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage.get("completion_tokens"),
        cached_tokens=prompt.get("cached_tokens"),
        cache_write_tokens=prompt.get("cache_write_tokens"),
        reasoning_tokens=output.get("reasoning_tokens"),
        service_tier=service_tier,
    )
    return believed(reported, call, count_output=count_output)


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def read_answer(completion: object, call: ProviderCall) -> Answer:
    """Return a whole answer.

    Args:
        completion: the answer's JSON.
        call: what it answers.

    Raises:
        Malformed: it is not a chat completion.
    """
    try:
        whole = msgspec.convert(completion, Completion, strict=False)
    except msgspec.ValidationError as fault:
        raise Malformed(f"the answer is not a chat completion: {fault}") from fault
    if not whole.choices:
        raise Malformed("the answer is not a chat completion with a choice")
    choice = whole.choices[0]
    text = encodable(choice.message.content or choice.message.refusal or "")
    tools = encodable_json(choice.message.tool_calls or ())
    if not choice.finish_reason:
        raise Malformed("the answer has no finish_reason")
    tier = whole.service_tier
    usage = read_usage(whole.usage, call, service_tier=tier, count_output=lambda: count_output(text, tools))
    return Answer(
        text=text,
        model=encodable(whole.model or call.model),
        finish_reason=_FINISH.get(choice.finish_reason, encodable(choice.finish_reason)),
        usage=usage
        or estimate(
            input_tokens=call.input_tokens, text=text, tool_calls=tools, service_tier=tier_name(tier)
        ),
        tool_calls=tools,
    )


class OpenAIAssembly:
    """Puts the chunks of one streamed answer together.

    Attributes:
        model: the model that answers, as the provider names it.
        chunks: how many chunks came.
        opened: whether the provider has taken the call: from then on it bills the prompt.
    """

    def __init__(self, call: ProviderCall) -> None:
        self._call = call
        self._text: list[str] = []
        self._pieces = TextPieces()
        self._tools: dict[int, dict[str, Any]] = {}
        self._usage: Usage | None = None
        self._tier: object = None
        self._finish: str | None = None
        self.model: str | None = None
        self.chunks = 0
        self.opened = False

    def feed(self, data: object) -> Iterator[ProviderEvent]:
        """Take the JSON of the next chunk, and yield what it brings.

        Raises:
            msgspec.ValidationError: it is not of the documented shape.
        """
        self.chunks += 1
        chunk = msgspec.convert(data, Chunk, strict=False)
        self.model = encodable(chunk.model) if chunk.model else self.model
        self._tier = chunk.service_tier or self._tier
        for choice in (chunk.choices or ())[:1]:
            self._finish = choice.finish_reason or self._finish
            said = choice.delta
            if said is None:
                continue
            for tool in said.tool_calls or ():
                self._add_tool(tool)
            yield from self._said(self._pieces.feed(said.content or said.refusal or ""))
        usage = read_usage(chunk.usage, self._call, service_tier=self._tier, count_output=self._count_output)
        if usage is not None:
            self._usage = usage
            yield UsageKnown(usage, self.model or self._call.model)

    def end(self) -> Iterator[ProviderEvent]:
        """Yield what is left of the text, after the last chunk."""
        yield from self._said(self._pieces.end())

    def _said(self, text: str) -> Iterator[ProviderEvent]:
        if text:
            self._text.append(text)
            yield TextDelta(text)

    def _add_tool(self, piece: ToolPiece) -> None:
        tool = self._tools.setdefault(
            piece.index or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        tool["id"] = piece.id or tool["id"]
        if piece.function is not None:
            tool["function"]["name"] += piece.function.name or ""
            tool["function"]["arguments"] += piece.function.arguments or ""

    def answer(self) -> Answer:
        """Return the whole answer, after the last chunk.

        Raises:
            ConnectionLost: the stream ended before the answer did.
        """
        if self._finish is None:
            raise ConnectionLost("the stream ended before the answer did", after_chunks=self.chunks)
        return Answer(
            text="".join(self._text),
            model=self.model or self._call.model,
            finish_reason=_FINISH.get(self._finish, encodable(self._finish)),
            usage=self._usage or self._estimate(),
            tool_calls=self._tool_calls(),
        )

    def billed(self) -> Usage | None:
        """Return what a break at this point has cost; None where the provider had not taken the call."""
        return self._estimate() if self.opened else None

    def _count_output(self) -> int:
        return count_output("".join(self._text), self._tool_calls())

    def _estimate(self) -> Usage:
        return estimate(
            input_tokens=self._call.input_tokens,
            text="".join(self._text),
            tool_calls=self._tool_calls(),
            reported=self._usage,
            service_tier=tier_name(self._tier),
        )

    def _tool_calls(self) -> tuple[dict[str, Any], ...]:
        return tuple(encodable_json(self._tools[index]) for index in sorted(self._tools))
