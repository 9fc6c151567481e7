"""Faults of requests in the words of a sender, the same for HTTP, lines of batches and Kafka.

msgspec: ``Expected `array` of length <= 100 - at `$.messages` ``.
Here: ``messages: at most 100 are allowed, got 120``.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import inspect

from streams.errors import InvalidRequest
from streams.request_rules.parameter_table import ANTHROPIC_PATHS, OPENAI_PATHS, Parameter

UNSUPPORTED: Final = "unsupported_parameter"
#: In hints: for every field without a hint of its own.
ANY_FIELD: Final = "*"
MAX_NAME_CHARS = 256
_MAX_SHOWN: Final = 64
_MAX_NAME: Final = 128
_NOTHING: Final = object()

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_LENGTH = re.compile(r"Expected `(str|array|object)` of length (>=|<=) (\d+)")
_BOUND = re.compile(r"Expected `(int|float)` (>=|<=|>|<) (\S+)")
_PATTERN = re.compile(r"Expected `str` matching regex '(.*)'", re.DOTALL)
_TYPE = re.compile(r"Expected `([^`]+)`, got `(\w+)`")
_ENUM = re.compile(r"Invalid (enum )?value (.*)", re.DOTALL)
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")
_ELEMENT_TYPE = re.compile(r"<[^>]*>")
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
#: The patterns of our own types, in words.
_PATTERNS: Final = {
    r"^[A-Za-z0-9._:-]{1,128}$(?!\n)": "1 to 128 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-'",
    r"^[A-Za-z0-9._:-]{1,64}$(?!\n)": "1 to 64 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-'",
    r"^[A-Za-z0-9._-]{1,64}$(?!\n)": "1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-'",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def explain(
    fault: msgspec.ValidationError,
    data: bytes | object,
    kind: type[msgspec.Struct],
    *,
    table: Mapping[str, Parameter] = OPENAI_PATHS,
    hints: Mapping[str, str] = MappingProxyType({}),
) -> InvalidRequest:
    """Return the fault of `data` (JSON, or an object made of it) in words; without a path it has no `param`.

    `table` has the reasons against refused parameters, `hints` what to do about unknown fields, by name.
    """
    message, _, path = str(fault).partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    if found := _UNKNOWN.match(message):
        return _unknown(found[1], path, table, hints)
    if found := _MISSING.match(message):
        param = f"{path}.{found[1]}".removeprefix(".")
        return InvalidRequest(f"{param} is required", code="missing_required_parameter", param=param)
    value = _value_at(data, path)
    if refusal := _refusal(path, value, table):
        return InvalidRequest(refusal, code=UNSUPPORTED, param=path)
    where = path or "the body"
    return InvalidRequest(f"{where}: {_words(message, path, value, kind)}", param=path or None)


def unsupported(param: str, why: str) -> InvalidRequest:
    """Return the fault of a request with a parameter that no model here supports."""
    return InvalidRequest(f"{param} is not supported: {why}", code=UNSUPPORTED, param=param)


def _unknown(
    name: str, path: str, table: Mapping[str, Parameter], hints: Mapping[str, str]
) -> InvalidRequest:
    param, name = f"{path}.{name}".removeprefix(".")[: _MAX_NAME * 2], name[:_MAX_NAME]
    why = _reasons(table).get(_INDEX.sub("[]", param))
    if why is None and table and not path:  # what the other API refuses is refused here in the same words
        why = _reasons(OPENAI_PATHS).get(name) or _reasons(ANTHROPIC_PATHS).get(name)
    if why:
        return unsupported(param, why)
    known = hints if not path else {}
    hint = known.get(name) or known.get(ANY_FIELD) or "it is not known here"
    return InvalidRequest(f"unknown field {name!r}: {hint}", code="unknown_parameter", param=param)


def _refusal(path: str, value: object, table: Mapping[str, Parameter]) -> str | None:
    """Return the table's reason against what is at a path, or None."""
    pattern = _INDEX.sub("[]", path)
    if why := _reasons(table).get(pattern):
        return f"{path} is not supported: {why}"
    other = _reasons(table).get(f"{pattern.removesuffix('.type')}<*>") if pattern.endswith("].type") else None
    return f"{path}: {str(value)[:_MAX_SHOWN]!r} is not supported: {other}" if other else None


def _reasons(table: Mapping[str, Parameter]) -> dict[str, str]:
    """Return why parameters are refused whatever the model, by their path without types.

    Elements of any type without a row are under the path with `<*>`.
    """
    found = {}
    for path, row in table.items():
        if path.endswith("<*>"):
            found[_ELEMENT_TYPE.sub("", path) + "<*>"] = row.to_openai.note
        elif row.is_refused and not path.endswith(">"):
            found[_ELEMENT_TYPE.sub("", path)] = row.to_openai.note
    return found


def _words(message: str, path: str, value: object, kind: type[msgspec.Struct]) -> str:
    if found := _LENGTH.fullmatch(message):
        got = f", got {len(value)}" if isinstance(value, str | list | dict) else ""
        verb = "allowed" if found[2] == "<=" else "required"
        return f"{_BOUNDS[found[2]]} {found[3]}{_UNITS[found[1]]} are {verb}{got}"
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


def _steps(path: str) -> list[str | int]:
    found = _STEP.findall(f".{path}" if path and not path.startswith("[") else path)
    return [name or (int(index) if index.isdigit() else index) for name, index in found]


def _value_at(data: bytes | object, path: str) -> Any:
    """Return what is at a path, or `_NOTHING`."""
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
        found = [child for each in _alternatives(found) for child in _below(each, step)]
    words: dict[str, None] = {}
    for each in _alternatives(found):
        if isinstance(each, inspect.LiteralType):
            words |= dict.fromkeys(str(value) for value in each.values if value is not None)
        elif isinstance(each, inspect.StructType) and each.tag is not None:
            words[str(each.tag)] = None
    return list(words)


def _alternatives(types: list[inspect.Type]) -> list[inspect.Type]:
    """Return the members of unions instead of the unions."""
    flat: list[inspect.Type] = []
    for each in types:
        bare = each.type if isinstance(each, inspect.Metadata) else each
        flat += _alternatives(list(bare.types)) if isinstance(bare, inspect.UnionType) else [bare]
    return flat


def _below(kind: inspect.Type, step: str | int) -> list[inspect.Type]:
    match kind:
        case inspect.StructType():
            fields = [field.type for field in kind.fields if field.encode_name == step]
            return [*fields, *([kind] if step == kind.tag_field else [])]
        case inspect.VarTupleType() | inspect.ListType():
            return [kind.item_type]
        case inspect.DictType():
            return [kind.value_type]
    return []


def check_at_most(count: int, limit: int, where: str, unit: str = "") -> None:
    """Raise `InvalidRequest` where there are more than `limit`."""
    if count > limit:
        raise InvalidRequest(f"{where}: at most {limit}{unit} are allowed, got {count}", param=where)


def check_name(name: str | None, where: str) -> None:
    """Raise `InvalidRequest` where a name is too long, or would not fit on one line of a log or table."""
    check_at_most(len(name or ""), MAX_NAME_CHARS, where, " characters")
    if has_control_character(name or ""):
        raise InvalidRequest(
            f"{where}: line ends and other control characters are not allowed",
            code="invalid_value",
            param=where,
        )


def has_control_character(text: str) -> bool:
    """Whether a text has a control character, or what some programs read as the end of a line."""
    return _CONTROL.search(text) is not None
