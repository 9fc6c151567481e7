"""Format validation against `response_format`."""

from typing import Any

import pytest

from agents.checks.response_format import format_problem, schema_problem


def schema_format(schema: dict[str, Any], *, strict: bool | None = None) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("wanted", [None, {"type": "text"}])
def test_text_is_always_valid(wanted: dict[str, Any] | None) -> None:
    """Without a format, or with `text`, any answer is valid."""
    assert format_problem("not { json", wanted) is None


def test_a_json_object_is_valid() -> None:
    """`json_object` takes any object."""
    assert format_problem(' {"a": [1, 2.5, null]} ', {"type": "json_object"}) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("```json\n{}\n```", "not valid JSON"),
        ("[1]", "must be a JSON object, not an array"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": ' + "9" * 5_000 + "}", "not valid JSON"),
        (f'{{"a": "{"x" * 1_100_000}"}}', "longer than"),
    ],
)
def test_what_is_no_json_object_says_why(text: str, says: str) -> None:
    """Prose, fences, other values, constants outside JSON and oversized answers are refused with a reason."""
    assert says in (format_problem(text, {"type": "json_object"}) or "")


def test_a_schema_is_enforced() -> None:
    """The error names the place and what is wrong there."""
    wanted = schema_format(PERSON, strict=True)
    assert format_problem('{"name": "Ann", "age": 3}', wanted) is None
    assert "#/age" in (format_problem('{"name": "Ann", "age": -1}', wanted) or "")
    assert "'age' is a required property" in (format_problem('{"name": "Ann"}', wanted) or "")
    assert "does not match" in (format_problem('{"name": "ann", "age": 3}', wanted) or "")
    assert "unexpected" in (format_problem('{"name": "Ann", "age": 3, "x": 1}', wanted) or "")


def test_local_references_work() -> None:
    """A schema may refer to itself: a tree of any depth."""
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"child": {"$ref": "#/$defs/node"}},
                "additionalProperties": False,
            }
        },
    }
    assert format_problem('{"child": {"child": {}}}', schema_format(tree)) is None
    assert format_problem('{"child": {"kid": {}}}', schema_format(tree))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"type": "json_schema", "json_schema": {"schema": {}}}, ".name must be"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, ".name must be"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": 1}}, ".strict must be"),
        (schema_format({"type": "objekt"}), "not a valid JSON Schema"),
        (schema_format({"$ref": "https://example.com/s.json"}), "another document"),
        (schema_format({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "another document"),
        (schema_format({"pattern": "("}), "pattern"),
        (schema_format({"patternProperties": {"(a+)+$": {}}}), "patternProperties"),
        (schema_format({"description": "x" * 70_000}), "longer than"),
        (schema_format({"type": "array"}, strict=True), "type 'object' at its root"),
        (schema_format({"type": "object", "properties": {}}, strict=True), "additionalProperties"),
        (
            schema_format(
                {"type": "object", "properties": {"a": {}}, "additionalProperties": False}, strict=True
            ),
            "missing: a",
        ),
    ],
)
def test_a_wrong_format_is_refused_before_any_call(wanted: dict[str, Any], says: str) -> None:
    """Each mistake in the request's own format object is named."""
    assert says in (schema_problem(wanted) or "")


def test_a_deep_schema_is_refused() -> None:
    """A schema nested without bound is refused, not walked by recursion."""
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"items": schema}
    assert "nested deeper" in (schema_problem(schema_format(schema)) or "")


def test_property_names_are_not_keywords() -> None:
    """Properties called `$ref` or `pattern`, and data under `enum`, are not taken for keywords."""
    schema = {
        "type": "object",
        "properties": {"$ref": {"type": "string"}, "pattern": {"enum": [{"$ref": "http://x"}]}},
    }
    assert schema_problem(schema_format(schema)) is None


@pytest.mark.parametrize(
    ("schema", "text", "says"),
    [
        ({"type": "string", "pattern": "^(a|aa)+$"}, f'"{"a" * 4_000}!"', "takes too long"),
        ({"$ref": "#"}, "1", "without end"),
        ({"$ref": "#/$defs/nothing"}, "1", "does not define"),
        (
            {
                "$ref": "#/$defs/l0",
                "$defs": {
                    **{f"l{i}": {"allOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 2} for i in range(30)},
                    "l30": {"type": "integer"},
                },
            },
            "1",
            "references",
        ),
    ],
)
def test_a_hostile_schema_ends_in_an_error(schema: dict[str, Any], text: str, says: str) -> None:
    """Backtracking patterns, endless and exploding references end in a clear error, in bounded time."""
    assert says in (format_problem(text, schema_format(schema)) or "")
