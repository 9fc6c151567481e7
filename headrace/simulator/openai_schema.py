"""The rules of OpenAI's structured output for schemas with `strict`: closed objects, all fields required."""

from collections.abc import Iterator
from typing import Any

from headrace.simulator.refusals import Refusal

_Context = tuple[str, ...]


def check_strict(schema: dict[str, Any], param: str, name: str) -> None:
    """Refuse a schema that the API would not take as strict.

    Raises:
        Refusal: 400, naming the place.
    """
    if schema.get("type") != "object":
        raise _invalid(
            param, name, (), f"schema must be a JSON Schema of 'type: \"object\"', got {schema.get('type')!r}"
        )
    for context, node in _nodes(schema, ()):
        if node.get("type") == "object" or "properties" in node:
            _check_object(node, context, param, name)


def _check_object(node: dict[str, Any], context: _Context, param: str, name: str) -> None:
    if node.get("additionalProperties") is not False:
        raise _invalid(
            param, name, context, "'additionalProperties' is required to be supplied and to be false"
        )
    properties = node.get("properties") or {}
    missing = [key for key in properties if key not in node.get("required", ())]
    if missing:
        raise _invalid(
            param,
            name,
            context,
            "'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'",
        )


def _nodes(node: Any, context: _Context) -> Iterator[tuple[_Context, dict[str, Any]]]:
    if not isinstance(node, dict):
        return
    yield context, node
    for group in ("properties", "$defs", "definitions"):
        named = node.get(group)
        if isinstance(named, dict):
            for key, entry in named.items():
                yield from _nodes(entry, (*context, group, key))
    if "items" in node:
        yield from _nodes(node["items"], (*context, "items"))
    for index, entry in enumerate(node.get("anyOf", ())):
        yield from _nodes(entry, (*context, "anyOf", str(index)))


def _invalid(param: str, name: str, context: _Context, what: str) -> Refusal:
    kind = "response_format" if param == "response_format" else "function"
    return Refusal(
        400,
        f"Invalid schema for {kind} '{name}': In context={context!r}, {what}.",
        param=param,
        code="invalid_function_parameters" if kind == "function" else None,
    )
