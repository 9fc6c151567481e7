"""Values that conform to a JSON Schema, for structured output and for the arguments of tool calls."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any

import jsonschema
import msgspec
from referencing import Registry
from referencing.exceptions import Unresolvable

SIMULATED = "(simulated)"

_MAX_DEPTH = 24
_MAX_ITEMS = 1_000
_MAX_CHARS = 100_000
# Below this depth optional fields are left out and arrays are short, so that recursive schemas end.
_SHALLOW = 4
_FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}
# Tried in turn for a `pattern`, with those above; the first that conforms is taken.
_PATTERN_TRIALS = (
    "a", "A", "abc", "ABC", "Abc", "abcd", "ABCD", "en-US", "1", "12", "123", "1234", "12345", "123456",
    "12345678", "1234567890", "A1", "AB12", "AB-123", "ABC-123", "ABC-1234", "a_b", "a-b", "@abc", "#a1b2c3",
    "1.0", "1.2.3", "v1.2.3", "10:30", "+15550100123", "555-0100", "555-555-0100", "0f" * 20, "0f" * 32,
)  # fmt: skip


class UnsupportedSchema(Exception):
    """No value was found for the schema; the message says where."""


def value_for(schema: Mapping[str, Any], words: Sequence[str], random: Random) -> Any:
    """Return a value that conforms to a schema, strings made of `words`, or raise `UnsupportedSchema`."""
    validator = _validator(msgspec.json.encode(schema, order="deterministic"))
    value = _ValueMaker(schema, words, random).make(schema, 0)
    error = _first_error(validator, value)
    if error is not None:
        raise UnsupportedSchema(f"no conforming value at {error.json_path}: {error.message}")
    return value


def check_schema(schema: Mapping[str, Any]) -> None:
    """Check that a schema is one. Raises `UnsupportedSchema`: if it is not, with the place."""
    _validator(msgspec.json.encode(schema, order="deterministic"))


def _first_error(validator: jsonschema.Draft202012Validator, value: Any) -> jsonschema.ValidationError | None:
    try:
        return next(validator.iter_errors(value), None)
    except Unresolvable as error:
        raise UnsupportedSchema(f"a `$ref` leads nowhere within the schema: {error}") from error


@lru_cache(maxsize=256)
def _validator(encoded: bytes) -> jsonschema.Draft202012Validator:
    schema = msgspec.json.decode(encoded)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UnsupportedSchema(f"{error.json_path}: {error.message}") from error
    # An empty registry, because the default one fetches remote references over the network.
    return jsonschema.Draft202012Validator(schema, registry=Registry())


class _ValueMaker:
    """Makes values that conform, or nearly: `value_for` checks them."""

    def __init__(self, root: Mapping[str, Any], words: Sequence[str], random: Random) -> None:
        self._root = root
        self._words = words
        self._random = random

    def make(self, schema: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise UnsupportedSchema("it is recursive without an end")
        if schema is True:
            return self._word()
        if not isinstance(schema, dict):
            raise UnsupportedSchema("it allows no value")
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._random.choice(schema["enum"])
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        if "allOf" in schema:
            return self.make(_merged(schema), depth + 1)
        options = schema.get("anyOf") or schema.get("oneOf")
        return self._first_that_works(options, depth) if options else self._typed(schema, depth)

    def _resolve(self, ref: str) -> Any:
        target: Any = self._root
        if not ref.startswith("#"):
            raise UnsupportedSchema(f"`{ref}` is outside the schema")
        for part in ref.removeprefix("#").strip("/").split("/"):
            if part:
                name = part.replace("~1", "/").replace("~0", "~")
                target = target.get(name) if isinstance(target, dict) else None
        if target is None:
            raise UnsupportedSchema(f"`{ref}` does not exist")
        return target

    def _first_that_works(self, options: Sequence[Any], depth: int) -> Any:
        # A null branch ends a recursion, so it comes first when deep and last otherwise.
        ordered = sorted(options, key=lambda option: (option == {"type": "null"}) is (depth <= _SHALLOW))
        for option in ordered[:-1]:
            try:
                return self.make(option, depth + 1)
            except UnsupportedSchema:
                continue
        return self.make(ordered[-1], depth + 1)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type") or _implied_type(schema)
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return _number(schema, self._random, whole=kind == "integer")
            case "boolean":
                return self._random.random() < 0.5
        return None

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = schema.get("required", ())
        rest = schema.get("additionalProperties", True)
        names = dict.fromkeys((*(properties if depth < _SHALLOW else ()), *required))
        return {name: self.make(properties.get(name, rest), depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        low, high = _bounds(schema, "Items", _MAX_ITEMS, "items")
        count = min(max(low, 0 if depth > _SHALLOW else self._random.randint(1, 3)), high)
        return [self.make(schema.get("items", True), depth + 1) for _ in range(count)]

    def _string(self, schema: Mapping[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if "pattern" in schema:
            return _matching(schema)
        low, high = _bounds(schema, "Length", _MAX_CHARS, "characters")
        text = f"{self._word()} {SIMULATED}"
        if len(text) > high:
            text = self._word()[:high]
        return text + "." * (low - len(text))

    def _word(self) -> str:
        return self._random.choice(self._words)


def _bounds(schema: Mapping[str, Any], what: str, limit: int, unit: str) -> tuple[int, int]:
    """Return the least and the most; JSON Schema takes 4.0 for an integer, too."""
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", limit)
    if low > limit:
        raise UnsupportedSchema(f"the simulator makes at most {limit} {unit}")
    return int(low), int(min(high, limit))


def _implied_type(schema: Mapping[str, Any]) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema:
        return "array"
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in filter(lambda part: isinstance(part, dict), schema["allOf"]):
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged |= part
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def _matching(schema: Mapping[str, Any]) -> str:
    validator = _validator(msgspec.json.encode({**schema, "type": "string"}, order="deterministic"))
    for trial in (*_PATTERN_TRIALS, *_FORMATS.values()):
        if _first_error(validator, trial) is None:
            return trial
    raise UnsupportedSchema(f"the simulator has no text for the pattern `{schema['pattern']}`")


def _number(schema: Mapping[str, Any], random: Random, *, whole: bool) -> int | float:
    """Return a multiple of the step within the bounds, or the middle where none fits."""
    step = schema.get("multipleOf", 1 if whole else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 1 if high is None or high >= 1 else high - 10 * step
    if high is None:
        high = low + 40 * step
    first, last = -(-low // step), high // step
    first += "exclusiveMinimum" in schema and first * step == low
    last -= "exclusiveMaximum" in schema and last * step == high
    value = random.randint(int(first), int(last)) * step if first <= last else (low + high) / 2
    return int(value) if whole else float(value)
