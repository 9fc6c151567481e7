"""What the simulated model says to a call: its words or tool calls, cut as the call demands."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from random import Random
from typing import Protocol

import msgspec
from rs_bpe import openai

from headrace.simulator.answers import about_results, json_object, key_words, sentences
from headrace.simulator.asking import Ask, Choosing, OutputKind, Tool
from headrace.simulator.behaviour import AnswerRule, Finish
from headrace.simulator.schema_values import value_for
from streams.tokens import count_text


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Text of the answer."""

    text: str


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call; `arguments` is a JSON object."""

    name: str
    arguments: str


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of what a model generated for one call, either text or tool calls."""

    blocks: tuple[Said | Called, ...]
    finish: Finish
    stop_sequence: str | None = None
    output_tokens: int


class _Tokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int]) -> str | None: ...


@cache
def _o200k() -> _Tokenizer:
    tokenizer: _Tokenizer = openai.o200k_base()
    return tokenizer


def generate(ask: Ask, rule: AnswerRule | None, seed: int) -> Generation:
    """Return what the model says; the same for the same call, rule and seed.

    Raises:
        UnsupportedSchema: If nothing conforms to the schema that the call demands.
    """
    digest = hashlib.blake2b(ask.identity, key=str(seed).encode(), digest_size=8).digest()
    random = Random(int.from_bytes(digest))
    calls = _tool_calls(ask, rule, random)
    if calls:
        return _of_calls(ask, calls)
    return _of_text(ask, _words(ask, rule, random), rule)


def _words(ask: Ask, rule: AnswerRule | None, random: Random) -> str:
    if rule is not None and rule.text is not None:
        return rule.text
    match ask.form.kind:
        case OutputKind.JSON_SCHEMA:
            value = value_for(ask.form.schema, key_words(ask.question), random)
            return msgspec.json.encode(value).decode()
        case OutputKind.JSON_OBJECT:
            return json_object(ask.question, random)
        case OutputKind.TEXT:
            if ask.tool_results:
                return about_results(ask.tool_results, ask.question)
            return sentences(ask.question, random)


def _tool_calls(ask: Ask, rule: AnswerRule | None, random: Random) -> tuple[Called, ...]:
    use = ask.tool_use
    if use.choosing is Choosing.NONE or not use.tools:
        return ()
    offered = {tool.name: tool for tool in use.tools}
    if rule is not None and rule.tool_calls and not ask.tool_results:
        calls = [
            Called(name=call.name, arguments=msgspec.json.encode(call.arguments).decode())
            for call in rule.tool_calls
            if call.name in offered
        ]
        return tuple(calls if use.parallel else calls[:1])
    if use.only is not None:
        return (_call(offered[use.only], ask, random),)
    if use.choosing is Choosing.ANY:
        return (_call(_fitting(use.tools, ask) or use.tools[0], ask, random),)
    if ask.tool_results or (rule is not None and rule.text is not None):
        return ()
    fitting = _fitting(use.tools, ask)
    return (_call(fitting, ask, random),) if fitting else ()


def _fitting(tools: tuple[Tool, ...], ask: Ask) -> Tool | None:
    """Return the first tool whose name or description shares a key word with the question."""
    wanted = {word.lower() for word in key_words(ask.question)}
    for tool in tools:
        about = {word.lower() for word in key_words(f"{tool.name.replace('_', ' ')} {tool.description}")}
        if about & wanted:
            return tool
    return None


def _call(tool: Tool, ask: Ask, random: Random) -> Called:
    schema = tool.schema or {"type": "object", "properties": {}}
    value = value_for(schema, key_words(ask.question), random)
    return Called(name=tool.name, arguments=msgspec.json.encode(value).decode())


def _of_calls(ask: Ask, calls: tuple[Called, ...]) -> Generation:
    kept: list[Called] = []
    for call in calls:
        left = ask.max_output_tokens - output_tokens(kept) - count_text(call.name)
        arguments = _cut(call.arguments, max(0, left))
        kept.append(Called(name=call.name, arguments=arguments))
        if arguments != call.arguments:
            return _generation(kept, Finish.LENGTH)
    return _generation(kept, Finish.TOOL_CALLS)


def _of_text(ask: Ask, words: str, rule: AnswerRule | None) -> Generation:
    text, stopped_by = _stopped(words, ask.stop)
    cut = _cut(text, ask.max_output_tokens)
    if cut != text:
        return _generation([Said(text=cut)], Finish.LENGTH)
    if stopped_by is not None:
        return _generation([Said(text=cut)], Finish.STOP_SEQUENCE, stopped_by)
    filtered = rule is not None and rule.content_filter
    return _generation([Said(text=cut)], Finish.CONTENT_FILTER if filtered else Finish.STOP)


def _generation(blocks: Sequence[Said | Called], finish: Finish, stopped_by: str | None = None) -> Generation:
    return Generation(
        blocks=tuple(blocks), finish=finish, stop_sequence=stopped_by, output_tokens=output_tokens(blocks)
    )


def output_tokens(blocks: Iterable[Said | Called]) -> int:
    """Return what is billed for a whole or partial output: its text, or tool names and arguments."""
    total = 0
    for block in blocks:
        if isinstance(block, Said):
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


def _cut(text: str, max_tokens: int) -> str:
    """Return the longest beginning of the text that is whole tokens and at most `max_tokens`."""
    if len(text.encode()) <= max_tokens:  # a token has at least one byte
        return text
    tokens = _o200k().encode(text)
    if len(tokens) <= max_tokens:
        return text
    for count in range(max_tokens, 0, -1):
        kept = _o200k().decode(tokens[:count])
        if kept is not None:  # the tokens do not end within a character
            return kept
    return ""


def pieces(text: str, chunk_chars: int | list[int] | None) -> list[str]:
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
    tokenizer = _o200k()
    split: list[str] = []
    held: list[int] = []
    for token in tokenizer.encode(text):
        held.append(token)
        piece = tokenizer.decode(held)
        if piece is not None:  # a character may take several tokens
            split.append(piece)
            held = []
    return split
