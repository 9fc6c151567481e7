"""Answers in a promised format: `response_format` as OpenAI's Chat Completions API defines it.

Both the schema and the answer come from outside. So everything is bounded: size, depth, the time of each
`pattern`, and the number of references that are followed. References to other documents are refused.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

import jsonschema
import referencing.exceptions
import regex
from jsonschema import Draft202012Validator, validators

from agents.checks.timed_search import timed_search
from streams.request_rules.chat import depth_exceeds

MAX_SCHEMA_CHARS: Final = 65_536
MAX_SCHEMA_DEPTH: Final = 64
MAX_ANSWER_CHARS: Final = 1_048_576
MAX_ANSWER_DEPTH: Final = 128
#: References that double at every level would otherwise take for ever.
_MAX_REFERENCES = 20_000
_PATTERN_TIMEOUT_S = 0.1
_MAX_ERROR_CHARS = 300

_NAME = regex.compile(r"[A-Za-z0-9_-]{1,64}")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_VERBATIM = {"const", "enum", "default", "examples"}  # their values are data, not schemas


class _LimitError(Exception):
    """A bound of this module was reached; the message says which."""


def schema_problem(response_format: Mapping[str, Any] | None) -> str | None:
    """Return what is wrong with the JSON Schema of a `response_format`, or None.

    `streams.request_rules` has checked that it has one where its type is `json_schema`.
    """
    if response_format is None or response_format["type"] != "json_schema":
        return None
    where, described = "response_format.json_schema", response_format["json_schema"]
    name, schema, strict = described.get("name"), described["schema"], described.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{where}.name must be 1 to 64 letters, digits, '_' or '-'"
    if strict is not None and not isinstance(strict, bool):
        return f"{where}.strict must be true or false"
    problem = _check_bounds(schema) or _check_nodes(schema, strict=strict is True) or _check_meta(schema)
    return f"{where}.schema {problem}" if problem else None


def format_problem(text: str, response_format: Mapping[str, Any] | None) -> str | None:
    """Return where and how `text`, the whole answer, breaks the format that was asked for, or None."""
    kind = response_format["type"] if response_format else "text"
    if response_format is None or kind == "text":
        return None
    try:
        parsed = _parse(text)
    except ValueError as fault:
        return f"the answer is not valid JSON: {fault}"
    if kind == "json_object":
        return None if isinstance(parsed, dict) else f"the answer must be a JSON object, not {_kind(parsed)}"
    return _violation(parsed, response_format["json_schema"]["schema"])


def _parse(text: str) -> Any:
    if len(text) > MAX_ANSWER_CHARS:
        raise ValueError(f"longer than {MAX_ANSWER_CHARS:,} characters")
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_ANSWER_DEPTH} levels") from None
    if depth_exceeds(parsed, MAX_ANSWER_DEPTH):
        raise ValueError(f"nested deeper than {MAX_ANSWER_DEPTH} levels")
    return parsed


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_bounds(schema: dict[str, Any]) -> str | None:
    if depth_exceeds(schema, MAX_SCHEMA_DEPTH):
        return f"is nested deeper than {MAX_SCHEMA_DEPTH} levels"
    too_long = len(json.dumps(schema)) > MAX_SCHEMA_CHARS
    return f"is longer than {MAX_SCHEMA_CHARS:,} characters" if too_long else None


def _check_nodes(schema: dict[str, Any], *, strict: bool) -> str | None:
    if strict and schema.get("type") != "object":
        return "must have type 'object' at its root when strict is true"
    for path, node in _subschemas(schema):
        for keyword in _REFERENCES:
            target = node.get(keyword)
            if isinstance(target, str) and not target.startswith("#"):
                return f"refers to another document at {path}/{keyword} ({target[:80]!r}); use '#/…'"
        if "patternProperties" in node:
            return f"uses patternProperties at {path}, which is not supported"
        problem = _check_strict(node) if strict and "properties" in node else None
        if problem:
            return f"{problem} at {path} (strict is true)"
    return None


def _check_strict(node: dict[str, Any]) -> str | None:
    if node.get("additionalProperties") is not False:
        return "needs 'additionalProperties': false"
    properties, required = node["properties"], node.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return None  # the meta-schema says so with better words
    missing = sorted(set(properties) - set(required))
    return f"must list every property in 'required' (missing: {', '.join(missing)})" if missing else None


def _check_meta(schema: dict[str, Any]) -> str | None:
    try:
        Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"is not a valid JSON Schema at {_pointer(error.path)}: {error.message[:_MAX_ERROR_CHARS]}"
    for path, node in _subschemas(schema):
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            try:
                regex.compile(pattern)
            except regex.error as error:
                return f"has an invalid pattern at {path}: {error}"
    return None


def _subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object in the schema with its path, without recursion and without entering plain data."""
    stack: list[tuple[str, Any, bool]] = [("#", schema, True)]
    while stack:
        path, node, is_schema = stack.pop()
        if isinstance(node, dict):
            if is_schema:
                yield path, node
            for key, value in node.items():
                if not (is_schema and key in _VERBATIM):
                    names = is_schema and key in {"properties", "$defs", "definitions", "dependentSchemas"}
                    stack.append((f"{path}/{key}", value, not names))
        elif isinstance(node, list):
            stack += [(f"{path}/{index}", value, True) for index, value in enumerate(node)]


def _violation(parsed: Any, schema: dict[str, Any]) -> str | None:
    try:
        error = next(_bounded_validator(schema).iter_errors(parsed), None)
    except _LimitError as limit:
        return f"the answer could not be checked: {limit}"
    except RecursionError:
        return "the answer could not be checked: the schema refers to itself without end"
    except referencing.exceptions.Unresolvable as unresolved:
        return f"the schema refers to something it does not define: {str(unresolved)[:_MAX_ERROR_CHARS]}"
    if error is None:
        return None
    return (
        f"the answer breaks the schema at {_pointer(error.absolute_path)}: {error.message[:_MAX_ERROR_CHARS]}"
    )


def _bounded_validator(schema: dict[str, Any]) -> Any:
    followed = 0

    def counted(follow: Callable[..., Any]) -> Callable[..., Any]:
        def keyword(validator: Any, reference: Any, instance: Any, node: Any) -> Iterator[Any]:
            nonlocal followed
            followed += 1
            if followed > _MAX_REFERENCES:
                raise _LimitError(f"the schema follows more than {_MAX_REFERENCES:,} references")
            yield from follow(validator, reference, instance, node) or ()

        return keyword

    known = Draft202012Validator.VALIDATORS
    keywords = {name: counted(known[name]) for name in ("$ref", "$dynamicRef")}
    overrides = {**keywords, "pattern": _timed_pattern}
    extended = validators.extend(Draft202012Validator, overrides)  # type: ignore[no-untyped-call]  # untyped stub
    return extended(schema)


def _timed_pattern(validator: Any, pattern: str, instance: Any, node: Any) -> Iterator[Any]:  # noqa: ARG001
    if not isinstance(instance, str):
        return
    try:
        found = timed_search(regex.compile(pattern), instance, timeout_s=_PATTERN_TIMEOUT_S)
    except TimeoutError:
        raise _LimitError(f"the pattern {pattern[:80]!r} takes too long") from None
    if not found:
        yield jsonschema.ValidationError(f"{instance[:80]!r} does not match {pattern[:80]!r}")


def _pointer(path: Any) -> str:
    return "#" + "".join(f"/{part}" for part in path)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
