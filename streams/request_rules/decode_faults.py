"""What is wrong with JSON that is not what it should be, in words that its sender knows.

msgspec says ``Expected `array` of length <= 100 - at `$.messages` ``; a sender reads ``messages: at most 100
are allowed, got 120``. The same words whichever way a request comes in: HTTP, a line of a batch, Kafka.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from streams.request_rules.parameter_table import ANTHROPIC_PATHS, OPENAI_PATHS, Effect, Parameter

UNSUPPORTED: Final = "unsupported_parameter"
#: In hints: every field without a hint of its own.
ANY_FIELD: Final = "*"
_MAX_SHOWN: Final = 64
_MAX_NAME: Final = 128

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_LENGTH = re.compile(r"Expected `(str|array|object)` of length (>=|<=) (\d+)")
_BOUND = re.compile(r"Expected `(int|float)` (>=|<=|>|<) (\S+)")
_PATTERN = re.compile(r"Expected `str` matching regex '(.*)'", re.DOTALL)
_TYPE = re.compile(r"Expected `([^`]+)`, got `(\w+)`")
_ENUM = re.compile(r"Invalid (enum )?value (.*)", re.DOTALL)
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")
_TYPE_OF_ELEMENT = re.compile(r"<[^>]*>")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")

_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "datetime": "a time (RFC 3339, with a zone)",
    "decimal": "a number",
    "bytes": "base64",
}
_UNITS: Final = {"str": " characters", "array": "", "object": " entries"}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
#: What the patterns of our own types mean.
_PATTERNS: Final = {
    r"^[A-Za-z0-9._:-]{1,128}$(?!\n)": "1 to 128 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-'",
    r"^[A-Za-z0-9._:-]{1,64}$(?!\n)": "1 to 64 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-'",
    r"^[A-Za-z0-9._-]{1,64}$(?!\n)": "1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-'",
}


class Explained(NamedTuple):
    """A mistake in words: `param` is where, None for the whole body."""

    message: str
    code: str
    param: str | None


def explain(
    fault: msgspec.ValidationError,
    data: bytes | object,
    kind: type[msgspec.Struct],
    *,
    table: Mapping[str, Parameter] | None = None,
    hints: Mapping[str, str] | None = None,
) -> Explained:
    """Return what is wrong.

    Args:
        fault: msgspec's.
        data: what was decoded: JSON as bytes, or an object made of it.
        kind: what it should be.
        table: the parameters that are refused with a reason of their own, by path.
        hints: what to do about unknown fields of these names.
    """
    message, _, path = str(fault).partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    if found := _UNKNOWN.match(message):
        return _unknown(found[1], path, table or {}, hints or {})
    if found := _MISSING.match(message):
        param = joined(path, found[1])
        return Explained(f"{param} is required", "missing_required_parameter", param)
    value = _value_at(data, path)
    if refusal := _refusal(path, value, table or {}):
        return Explained(refusal, UNSUPPORTED, path)
    where = path or "the body"
    return Explained(f"{where}: {_words(message, path, value, kind)}", "invalid_request", path or None)


def joined(path: str, name: str) -> str:
    """Return the path of a field of what lies at a path."""
    return f"{path}.{name}" if path else name


def at_most(where: str, most: int, got: int, unit: str = "") -> str:
    """Say that something is too long."""
    return f"{where}: at most {most}{unit} are allowed, got {got}"


def table_of(*, anthropic: bool = False) -> Mapping[str, Parameter]:
    """Return the parameters of an API by their path."""
    return ANTHROPIC_PATHS if anthropic else OPENAI_PATHS


def reason(name: str, *, anthropic: bool = False) -> str:
    """Return why a parameter is refused, as the table says it."""
    row = table_of(anthropic=anthropic)[name]
    return f"{name} is not supported: {row.to_openai.note}"


def _unknown(name: str, path: str, table: Mapping[str, Parameter], hints: Mapping[str, str]) -> Explained:
    param, name = joined(path, name)[: _MAX_NAME * 2], name[:_MAX_NAME]
    # Of the other API, too: what is refused there is refused here, with the same words.
    if why := _reasons(table).get(_pattern(param)) or (
        _refused_anywhere(name) if table and not path else None
    ):
        return Explained(f"{param} is not supported: {why}", UNSUPPORTED, param)
    known = hints if not path else {}
    hint = known.get(name) or known.get(ANY_FIELD) or "it is not known here"
    return Explained(f"unknown field {name!r}: {hint}", "unknown_parameter", param)


def _refusal(path: str, value: object, table: Mapping[str, Parameter]) -> str | None:
    """Return what the table says against what is at a path, if anything."""
    pattern = _pattern(path)
    if why := _reasons(table).get(pattern):
        return f"{path} is not supported: {why}"
    other = _other_types(table).get(pattern.removesuffix(".type")) if pattern.endswith("].type") else None
    return f"{path}: {str(value)[:_MAX_SHOWN]!r} is not supported: {other}" if other else None


def _reasons(table: Mapping[str, Parameter]) -> dict[str, str]:
    """Return why parameters are refused whatever the model, by their path without types."""
    return {
        _TYPE_OF_ELEMENT.sub("", path): row.to_openai.note
        for path, row in table.items()
        if row.to_openai.effect is row.to_anthropic.effect is Effect.REFUSED and not path.endswith(">")
    }


def _refused_anywhere(name: str) -> str | None:
    return _reasons(OPENAI_PATHS).get(name) or _reasons(ANTHROPIC_PATHS).get(name)


def _other_types(table: Mapping[str, Parameter]) -> dict[str, str]:
    """Return why elements of a type without a row are refused, by the path of the list without types."""
    others = {path: row.to_openai.note for path, row in table.items() if path.endswith("<*>")}
    return {_TYPE_OF_ELEMENT.sub("", path): note for path, note in others.items()}


def _pattern(path: str) -> str:
    """Return a path without its numbers, as the table has it."""
    return _INDEX.sub("[]", path)


def _words(message: str, path: str, value: object, kind: type[msgspec.Struct]) -> str:
    if found := _LENGTH.fullmatch(message):
        unit = _UNITS[found[1]]
        got = f", got {len(value)}" if isinstance(value, str | list | dict) else ""
        return (
            f"{_BOUNDS[found[2]]} {found[3]}{unit} are {'allowed' if found[2] == '<=' else 'required'}{got}"
        )
    if found := _BOUND.fullmatch(message):
        return f"must be {_BOUNDS[found[2]]} {found[3].removesuffix('.0')}{_got(value)}"
    if found := _PATTERN.fullmatch(message):
        pattern = found[1].replace("\\\\", "\\")
        return f"must be {_PATTERNS.get(pattern, f'text that matches {pattern}')}{_got(value)}"
    if found := _TYPE.fullmatch(message):
        names = [name.strip() for name in found[1].split("|")]
        wanted = [_TYPES.get(name, name) for name in names if name != "null" or len(names) == 1]
        return f"must be {_listed(wanted)}, not {_TYPES.get(found[2], found[2])}"
    if found := _ENUM.fullmatch(message):
        allowed = _allowed(kind, path)
        return f"must be {_listed(allowed)}{_got(value)}" if allowed else f"{found[2]} is not allowed here"
    return message[:1].lower() + message[1:].replace("`", "")


def _got(value: object) -> str:
    if value is _NOTHING or isinstance(value, dict | list):
        return ""
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return f", got {text[:_MAX_SHOWN]}{'…' if len(text) > _MAX_SHOWN else ''}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


_NOTHING: Final = object()


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for name, index in _STEP.findall(f".{path}" if path and not path.startswith("[") else path):
        steps.append(name or (int(index) if index.isdigit() else index))
    return steps


def _value_at(data: bytes | object, path: str) -> Any:
    """Return what lies at a path, as far as it can be told."""
    try:
        value: Any = msgspec.json.decode(data) if isinstance(data, bytes) else data
        for step in _steps(path):
            value = value[step]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return _NOTHING
    return value


def _allowed(kind: type[msgspec.Struct], path: str) -> list[str]:
    """Return the words that are allowed at a path of a type."""
    found = [inspect.type_info(kind)]
    for step in _steps(path):
        found = [child for each in found for child in _below(each, step)]
    values = [
        value for each in _flat(found) if isinstance(each, inspect.LiteralType) for value in each.values
    ]
    tags = [
        each.tag for each in _flat(found) if isinstance(each, inspect.StructType) and each.tag is not None
    ]
    return [str(value) for value in dict.fromkeys([*values, *tags]) if value is not None]


def _flat(types: list[inspect.Type]) -> list[inspect.Type]:
    flat: list[inspect.Type] = []
    for each in types:
        bare = each.type if isinstance(each, inspect.Metadata) else each
        flat += _flat(list(bare.types)) if isinstance(bare, inspect.UnionType) else [bare]
    return flat


def _below(kind: inspect.Type, step: str | int) -> list[inspect.Type]:
    below: list[inspect.Type] = []
    for each in _flat([kind]):
        if isinstance(each, inspect.StructType):
            below += [field.type for field in each.fields if field.encode_name == step]
            below += [each] if step == each.tag_field else []
        elif isinstance(each, inspect.VarTupleType | inspect.ListType):
            below.append(each.item_type)
        elif isinstance(each, inspect.DictType):
            below.append(each.value_type)
    return below
