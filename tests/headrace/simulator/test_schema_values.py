"""Values for JSON Schemas: conforming, or a clear refusal."""

from random import Random
from typing import Any

import jsonschema
import pytest

from headrace.simulator.schema_values import UnsupportedSchema, value_for

_TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "children"],
        }
    },
}
_SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": "string", "minLength": 60},
    {"type": "string", "maxLength": 2},
    {"type": "string", "minLength": 60.0, "maxLength": 80.0},
    {"type": "array", "minItems": 2.0, "maxItems": 3.0},
    {"type": "string", "format": "date-time"},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{3}$"},
    {"type": "integer", "minimum": 7, "maximum": 7},
    {"type": "integer", "exclusiveMinimum": 7, "exclusiveMaximum": 9},
    {"type": "integer", "maximum": -5},
    {"type": "integer", "multipleOf": 7, "minimum": 50},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "minimum": 0.2, "maximum": 0.3},
    {"type": ["string", "null"]},
    {"const": {"a": 1}},
    {"enum": [1, "two", None]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 5, "maxItems": 6},
    {"type": "array", "maxItems": 0},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
    {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}]},
    {"type": "object", "required": ["free"], "additionalProperties": {"type": "integer"}},
    _TREE,
]


@pytest.mark.parametrize("schema", _SCHEMAS, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_conforms(schema: dict[str, Any], seed: int) -> None:
    """The value conforms, whatever the seed."""
    jsonschema.Draft202012Validator(schema).validate(value_for(schema, ("refund", "policy"), Random(seed)))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 2, "maximum": 1}, "no conforming value"),
        ({"type": "thing"}, "thing"),
        ({"type": "string", "pattern": "^x{77}$"}, "no text for the pattern"),
        ({"$ref": "https://example.com/x"}, "outside the schema"),
        ({"$ref": "#/$defs/none"}, "does not exist"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "recursive without an end",
        ),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "allows no value"),
        ({"not": {}}, "no conforming value"),
        ({"type": "string", "minLength": 10**12}, "at most 100000 characters"),
        ({"type": "array", "minItems": 10**12}, "at most 1000 items"),
        ({"enum": []}, "no conforming value"),
        ({"oneOf": [{"type": "string"}, {"$ref": "http://127.0.0.1:1/x"}]}, "leads nowhere"),
        ({"type": "string", "pattern": "("}, "is not a 'regex'"),
    ],
)
def test_refuses(schema: dict[str, Any], words: str) -> None:
    """Where nothing conforms or is found, the refusal says why."""
    with pytest.raises(UnsupportedSchema, match=words):
        value_for(schema, ("word",), Random(0))
