"""Answers a chat call with words or tool calls, cut as the call demands, and into the chunks of a stream.

The words are plausible ones about the prompt, drawn from a seed. Every answer says that it is simulated.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from random import Random
from typing import Any

import msgspec
from rs_bpe import openai

from headrace.simulator.behaviour import AnswerRule
from headrace.simulator.chat_task import ChatTask, ToolMode, ToolOffer
from headrace.simulator.schema_values import SIMULATED, value_for
from streams.model_catalogue import count_text

_WORD = re.compile(r"[^\W\d_][\w'-]{3,30}")
_ASKED = re.compile(r"\bquestion:", re.IGNORECASE)
_MAX_READ_CHARS = 20_000
_MAX_KEY_WORDS = 12
_STOP_WORDS = frozenset(
    "about above after again also another answer because been before being below between could does doing "
    "each explain from give have having here into just know like list make many more most much need only "
    "other over please same should show simulated some such tell than that their them then there these they "
    "this those through under until using very want were what when where which while will with "
    "would your".split()
)

_OPENINGS = (
    "Here is a short answer about {a}.",
    "In brief, {a} comes down to {b}.",
    "The question is about {a}, and the answer depends on {b}.",
    "Let us look at {a} first.",
    "{A} is best understood together with {b}.",
)
_MIDDLES = (
    "In most cases {a} is settled before {b} comes into play.",
    "A careful reading of {a} shows that {b} matters more than it seems.",
    "If {a} changes, then {b} has to be looked at again.",
    "People often mix up {a} and {b}, although they differ in cost and in time.",
    "The usual way is to write down {a}, check it against {b}, and decide within {n} days.",
    "About {n} in a hundred cases of {a} need a second look.",
    "There are {n} steps from {a} to {b}, and each of them can be repeated safely.",
    "Where {a} is unclear, {b} gives the better hint.",
    "Keep a record of {a}; it saves time when {b} is questioned later.",
)
_CLOSINGS = (
    "That is what can be said about {a} without more detail.",
    "With more detail on {b}, the answer could be more exact.",
    "So start with {a}.",
    "Anything beyond {a} would be a guess.",
)


def key_words(text: str) -> tuple[str, ...]:
    """Return the words that a text is about, in order: those behind the last "Question:" of a template."""
    found: dict[str, None] = {}
    asked = _ASKED.split(text[:_MAX_READ_CHARS])[-1]
    for word in _WORD.findall(asked if _WORD.search(asked) else text[:_MAX_READ_CHARS]):
        if word.lower() not in _STOP_WORDS:
            found.setdefault(word)
        if len(found) == _MAX_KEY_WORDS:
            break
    return tuple(found) or ("your request",)


def sentences(question: str, random: Random) -> str:
    """Return two to seven sentences about the question."""
    words = key_words(question)
    middles = random.sample(_MIDDLES, random.randint(0, 5))
    chosen = [random.choice(_OPENINGS), *middles, random.choice(_CLOSINGS)]
    lead = _fill(chosen[0], words[0], words[1 % len(words)], random)
    rest = (_fill(line, random.choice(words), random.choice(words), random) for line in chosen[1:])
    return " ".join((SIMULATED, lead, *rest))


def _fill(sentence: str, first: str, second: str, random: Random) -> str:
    return sentence.format(a=first, A=first[:1].upper() + first[1:], b=second, n=random.randint(2, 30))


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
    """Return what the model says; the same for the same call, rule and seed. Raises `UnsupportedSchema`."""
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
    about = key_words(task.question)[0]
    if task.form.json:
        body = {"simulated": True, "topic": about, "answer": sentences(task.question, random)}
        return msgspec.json.encode(body).decode()
    if task.tool_results:
        quoted = "; ".join(result[:500] for result in task.tool_results)
        return f"{SIMULATED} According to the tools, the answer about {about} is: {quoted}"
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
    hits = [(text.find(stop), stop) for stop in stops if stop in text]
    if not hits:
        return text, None
    at, stop = min(hits)
    return text[:at], stop
