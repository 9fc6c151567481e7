"""Answers a chat call with words or tool calls, cut as the call demands, and into the chunks of a stream."""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from random import Random
from typing import Any

import msgspec
from rs_bpe import openai

from headrace.simulator.behaviour import AnswerRule
from headrace.simulator.generation.answer_texts import about_results, json_object, key_words, sentences
from headrace.simulator.generation.chat_task import ChatTask, ToolMode, ToolOffer
from headrace.simulator.generation.schema_values import value_for
from streams.tokens import count_text

ChunkChars = int | list[int] | None


class StopCause(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    STOP_SEQUENCE = "stop_sequence"


class OutputBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A text or, where `tool` names one, the JSON arguments of a tool call."""

    text: str
    tool: str | None = None


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of what a model generated for one call, either text or tool calls."""

    blocks: tuple[OutputBlock, ...]
    stopped: StopCause
    stop_sequence: str | None = None
    output_tokens: int


def generate(task: ChatTask, rule: AnswerRule | None, seed: int) -> Generation:
    """Return what the model says; the same for the same call, rule and seed.

    Raises:
        UnsupportedSchema: If nothing conforms to the schema that the call demands.
    """
    digest = hashlib.blake2b(task.identity, key=str(seed).encode(), digest_size=8).digest()
    random = Random(int.from_bytes(digest))
    calls = _tool_calls(task, rule, random)
    if calls:
        return _of_calls(task, calls)
    return _of_text(task, _words(task, rule, random))


def _words(task: ChatTask, rule: AnswerRule | None, random: Random) -> str:
    if rule is not None and rule.text is not None:
        return rule.text
    if task.form.schema is not None:
        value = value_for(task.form.schema, key_words(task.question), random)
        return msgspec.json.encode(value).decode()
    if task.form.json:
        return json_object(task.question, random)
    if task.tool_results:
        return about_results(task.tool_results, task.question)
    return sentences(task.question, random)


def _tool_calls(task: ChatTask, rule: AnswerRule | None, random: Random) -> tuple[OutputBlock, ...]:
    use = task.tool_use
    if use.mode is ToolMode.NONE or not use.tools:
        return ()
    offered = {tool.name: tool for tool in use.tools}
    if rule is not None and rule.tool_calls and not task.tool_results:
        calls = [
            OutputBlock(tool=call.name, text=msgspec.json.encode(call.arguments).decode())
            for call in rule.tool_calls
            if call.name in offered
        ]
        return tuple(calls if use.parallel else calls[:1])
    if use.only is not None:
        return (_call(offered[use.only], task, random),)
    if use.mode is ToolMode.ANY:
        return (_call(_fitting(use.tools, task) or use.tools[0], task, random),)
    if task.tool_results or (rule is not None and rule.text is not None):
        return ()
    fitting = _fitting(use.tools, task)
    return (_call(fitting, task, random),) if fitting else ()


def _fitting(tools: tuple[ToolOffer, ...], task: ChatTask) -> ToolOffer | None:
    """Return the first tool whose name or description shares a key word with the question."""
    wanted = {word.lower() for word in key_words(task.question)}
    for tool in tools:
        about = {word.lower() for word in key_words(f"{tool.name.replace('_', ' ')} {tool.description}")}
        if about & wanted:
            return tool
    return None


def _call(tool: ToolOffer, task: ChatTask, random: Random) -> OutputBlock:
    schema = tool.schema or {"type": "object", "properties": {}}
    value = value_for(schema, key_words(task.question), random)
    return OutputBlock(tool=tool.name, text=msgspec.json.encode(value).decode())


def _of_calls(task: ChatTask, calls: tuple[OutputBlock, ...]) -> Generation:
    kept: list[OutputBlock] = []
    for call in calls:
        left = task.max_output_tokens - output_tokens([*kept, OutputBlock(tool=call.tool, text="")])
        arguments = _first_tokens(call.text, max(0, left))
        kept.append(OutputBlock(tool=call.tool, text=arguments))
        if arguments != call.text:
            return _generation(kept, StopCause.LENGTH)
    return _generation(kept, StopCause.TOOL_CALLS)


def _of_text(task: ChatTask, words: str) -> Generation:
    text, stopped_by = _stopped(words, task.stop)
    cut = _first_tokens(text, task.max_output_tokens)
    if cut != text:
        return _generation([OutputBlock(text=cut)], StopCause.LENGTH)
    cause = StopCause.STOP if stopped_by is None else StopCause.STOP_SEQUENCE
    return _generation([OutputBlock(text=cut)], cause, stopped_by)


def _generation(
    blocks: Sequence[OutputBlock], stopped: StopCause, stopped_by: str | None = None
) -> Generation:
    return Generation(
        blocks=tuple(blocks), stopped=stopped, stop_sequence=stopped_by, output_tokens=output_tokens(blocks)
    )


def output_tokens(blocks: Iterable[OutputBlock]) -> int:
    """Return what is billed for a whole or partial output: its text, or tool names and arguments."""
    return sum(count_text(block.tool or "") + count_text(block.text) for block in blocks)


@cache
def _o200k() -> Any:
    return openai.o200k_base()


def _first_tokens(text: str, max_tokens: int) -> str:
    """Return the longest beginning of the text that is whole tokens and at most `max_tokens`."""
    if len(text.encode()) <= max_tokens:  # a token has at least one byte
        return text
    tokens = _o200k().encode(text)
    if len(tokens) <= max_tokens:
        return text
    beginnings = (_o200k().decode(tokens[:count]) for count in range(max_tokens, 0, -1))
    # Tokens that end within a character decode to None.
    return next((kept for kept in beginnings if kept is not None), "")


def pieces(text: str, chunk_chars: ChunkChars) -> list[str]:
    """Split a text as it is streamed: by tokens, or by the given numbers of characters, repeated."""
    if chunk_chars is None:
        return _by_token(text)
    sizes = [chunk_chars] if isinstance(chunk_chars, int) else chunk_chars
    split: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(split) % len(sizes)]
        split.append(text[at : at + size])
        at += size
    return split


def _by_token(text: str) -> list[str]:
    split: list[str] = []
    held: list[int] = []
    for token in _o200k().encode(text):
        held.append(token)
        piece = _o200k().decode(held)
        if piece is not None:  # a character may take several tokens
            split.append(piece)
            held = []
    return split


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Cut the text before the first stop sequence in it."""
    hits = [(text.find(stop), stop) for stop in stops if stop in text]
    if not hits:
        return text, None
    at, stop = min(hits)
    return text[:at], stop
