"""The table of parameters: complete by the official SDKs' own types, and true to what is sent."""

import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, Required

import pytest
from anthropic.types import message_create_params as messages
from anthropic.types.beta import message_create_params as beta_messages
from openai.types import embedding_create_params as embeddings
from openai.types.chat import completion_create_params as completions
from typing_extensions import is_typeddict

from ingest.openai.embeddings import EmbeddingsBody
from streams.events import ChatRequested, Message
from streams.model_catalogue import ProviderProtocol
from streams.request_rules.parameter_table import ANTHROPIC_PATHS, OPENAI_PATHS, PARAMETERS, Effect, Parameter
from streams.request_rules.parameters import NAMES, passed_on, unsupported_parameter

Found = tuple[str, str | None]  # a path, and the `type` of the object that it is a field of


def _bare(kind: Any) -> Any:
    while typing.get_origin(kind) in (Required, NotRequired, Annotated):
        kind = typing.get_args(kind)[0]
    return kind


def _objects(kind: Any) -> Iterator[tuple[str, Any]]:
    """The typed dictionaries in a type, and `[]` for each list around them."""
    kind = _bare(kind)
    origin = typing.get_origin(kind)
    if is_typeddict(kind):
        yield "", kind
    elif origin is not Literal and origin is not dict:
        several = getattr(origin, "__name__", "") in ("Iterable", "Sequence", "list", "List")
        for inner in typing.get_args(kind):
            for suffix, found in _objects(inner):
                yield ("[]" if several else "") + suffix, found


def _tags(kind: Any) -> list[str]:
    """The values of `type` that an object may have."""
    found = typing.get_type_hints(kind).get("type")
    tags: list[str] = []
    for value in typing.get_args(_bare(found)) if found is not None else ():
        tags += [each for each in typing.get_args(value) if isinstance(each, str)] or [value]
    return [tag for tag in tags if isinstance(tag, str)]


def unknown(
    kind: Any, table: Mapping[str, Parameter], path: str = "", seen: tuple[Any, ...] = ()
) -> list[str]:
    """The paths of a type that a table does not know."""
    missing = []
    for name, field in typing.get_type_hints(kind).items():
        here = f"{path}.{name}" if path else name
        if here not in table:
            missing.append(here)
            continue
        if table[here].whole:
            continue
        for suffix, inner in _objects(field):
            if inner in seen:
                continue
            for tag in _tags(inner) or [""]:
                below = f"{here}{suffix}<{tag}>" if tag else here + suffix
                # An object without a row of its own type is one of many, or one that nobody knows.
                other = f"{here}{suffix}<*>"
                if tag and not _has(table, below) and other in table:
                    continue
                if table.get(below, table[here]).whole:
                    continue
                missing += unknown(
                    inner, table, below if _has(table, below) else here + suffix, (*seen, inner)
                )
    return sorted(set(missing))


def _has(table: Mapping[str, Parameter], path: str) -> bool:
    return any(known == path or known.startswith((f"{path}.", f"{path}[")) for known in table)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (completions.CompletionCreateParamsNonStreaming, OPENAI_PATHS),
        (completions.CompletionCreateParamsStreaming, OPENAI_PATHS),
        (messages.MessageCreateParamsNonStreaming, ANTHROPIC_PATHS),
        (messages.MessageCreateParamsStreaming, ANTHROPIC_PATHS),
        (beta_messages.MessageCreateParamsNonStreaming, ANTHROPIC_PATHS),
    ],
)
def test_every_parameter_of_the_clients_is_in_the_table(kind: Any, table: Mapping[str, Parameter]) -> None:
    """Top level and below: what an SDK can send and the table does not name fails here."""
    assert unknown(kind, table) == []


@pytest.mark.parametrize(
    ("kind", "table", "left_out"),
    [
        (completions.CompletionCreateParamsStreaming, OPENAI_PATHS, ["seed"]),
        (completions.CompletionCreateParamsStreaming, OPENAI_PATHS, ["stream_options.include_usage"]),
        (
            completions.CompletionCreateParamsStreaming,
            OPENAI_PATHS,
            ["messages[].content[]<text>.prompt_cache_breakpoint"],
        ),
        (messages.MessageCreateParamsStreaming, ANTHROPIC_PATHS, ["tools[]<custom>.strict"]),
        (messages.MessageCreateParamsStreaming, ANTHROPIC_PATHS, ["messages[].content[]<tool_use>.caller"]),
    ],
)
def test_a_parameter_that_is_not_in_the_table_is_found(
    kind: Any, table: Mapping[str, Parameter], left_out: list[str]
) -> None:
    """The walk sees what is missing, at every depth."""
    assert unknown(kind, {name: row for name, row in table.items() if name not in left_out}) == left_out


def test_every_parameter_of_embeddings_is_a_field() -> None:
    """All five are understood."""
    assert set(typing.get_type_hints(embeddings.EmbeddingCreateParams)) == set(
        EmbeddingsBody.__struct_fields__
    )


def test_what_is_passed_on_is_in_the_table() -> None:
    """Each has a rule for models of either API."""
    assert set(OPENAI_PATHS) >= NAMES


@pytest.mark.parametrize("provider", list(ProviderProtocol))
def test_a_parameter_is_sent_or_refused(provider: ProviderProtocol) -> None:
    """A provider gets what its rule passes on; a hint may be left out; nothing else is."""
    given: dict[str, Any] = {
        "frequency_penalty": 0.5, "logit_bias": {"1": 2}, "parallel_tool_calls": False, "store": True,
        "prompt_cache_key": "k", "service_tier": "auto", "verbosity": "low", "top_k": 3, "betas": ["b-1"],
        "cache_control": {"type": "ephemeral"}, "reasoning_effort": "low", "guided_json": {},
    }  # fmt: skip
    for name, value in given.items():
        refused = unsupported_parameter(ChatRequested(user_id="u", query="q", params={name: value}), provider)
        sent = passed_on({name: value}, provider)
        row = OPENAI_PATHS.get(name)
        rule = row and (row.to_openai if provider is ProviderProtocol.OPENAI else row.to_anthropic)
        hint = rule is not None and rule.effect is Effect.NO_EFFECT
        assert (refused is not None) + (sent == {name: value}) + hint == 1 or rule is None, name


@pytest.mark.parametrize(
    ("roles", "param"),
    [
        (["user", "assistant"], "messages[1].role"),
        (["user", "assistant", "system"], "messages[1].role"),
        (["system", "assistant", "user"], "messages[1].role"),
        (["user", "assistant", "user"], None),
        (["system"], None),
    ],
)
def test_anthropics_models_begin_and_end_with_the_user(roles: list[Any], param: str | None) -> None:
    """Instructions do not stand in the conversation."""
    messages = tuple(Message(role=role, content="x") for role in roles)
    refused = unsupported_parameter(ChatRequested(user_id="u", messages=messages), ProviderProtocol.ANTHROPIC)
    assert (refused and refused.param) == param


def test_a_refusal_says_what_to_do() -> None:
    """Its words are what the sender reads."""
    refused = [
        rule
        for row in PARAMETERS
        for rule in (row.to_openai, row.to_anthropic)
        if rule.effect is Effect.REFUSED
    ]
    assert all(rule.note for rule in refused)
