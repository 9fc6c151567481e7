"""Answers a chat call: with words or tool calls, cut as the call demands."""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from random import Random

import msgspec

from headrace.simulator.behaviour.rules import AnswerRule
from headrace.simulator.generation.answer_texts import about_results, json_object, key_words, sentences
from headrace.simulator.generation.chat_task import ChatTask, ToolMode, ToolOffer
from headrace.simulator.generation.schema_values import value_for
from headrace.simulator.generation.token_pieces import first_tokens
from streams.tokens import count_text


class StopCause(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    STOP_SEQUENCE = "stop_sequence"


class SaidText(msgspec.Struct, frozen=True, kw_only=True):
    """Text of the answer."""

    text: str


class ToolCallBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call; `arguments` is a JSON object."""

    name: str
    arguments: str


OutputBlock = SaidText | ToolCallBlock


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


def _tool_calls(task: ChatTask, rule: AnswerRule | None, random: Random) -> tuple[ToolCallBlock, ...]:
    use = task.tool_use
    if use.mode is ToolMode.NONE or not use.tools:
        return ()
    offered = {tool.name: tool for tool in use.tools}
    if rule is not None and rule.tool_calls and not task.tool_results:
        calls = [
            ToolCallBlock(name=call.name, arguments=msgspec.json.encode(call.arguments).decode())
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


def _call(tool: ToolOffer, task: ChatTask, random: Random) -> ToolCallBlock:
    schema = tool.schema or {"type": "object", "properties": {}}
    value = value_for(schema, key_words(task.question), random)
    return ToolCallBlock(name=tool.name, arguments=msgspec.json.encode(value).decode())


def _of_calls(task: ChatTask, calls: tuple[ToolCallBlock, ...]) -> Generation:
    kept: list[ToolCallBlock] = []
    for call in calls:
        left = task.max_output_tokens - output_tokens(kept) - count_text(call.name)
        arguments = first_tokens(call.arguments, max(0, left))
        kept.append(ToolCallBlock(name=call.name, arguments=arguments))
        if arguments != call.arguments:
            return _generation(kept, StopCause.LENGTH)
    return _generation(kept, StopCause.TOOL_CALLS)


def _of_text(task: ChatTask, words: str) -> Generation:
    text, stopped_by = _stopped(words, task.stop)
    cut = first_tokens(text, task.max_output_tokens)
    if cut != text:
        return _generation([SaidText(text=cut)], StopCause.LENGTH)
    if stopped_by is not None:
        return _generation([SaidText(text=cut)], StopCause.STOP_SEQUENCE, stopped_by)
    return _generation([SaidText(text=cut)], StopCause.STOP)


def _generation(
    blocks: Sequence[OutputBlock], stopped: StopCause, stopped_by: str | None = None
) -> Generation:
    return Generation(
        blocks=tuple(blocks), stopped=stopped, stop_sequence=stopped_by, output_tokens=output_tokens(blocks)
    )


def output_tokens(blocks: Iterable[OutputBlock]) -> int:
    """Return what is billed for a whole or partial output: its text, or tool names and arguments."""
    total = 0
    for block in blocks:
        if isinstance(block, SaidText):
            total += count_text(block.text)
        else:
            total += count_text(block.name) + count_text(block.arguments)
    return total


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Cut the text before the first stop sequence in it."""
    hits = [(text.find(stop), stop) for stop in stops if stop in text]
    if not hits:
        return text, None
    at, stop = min(hits)
    return text[:at], stop
