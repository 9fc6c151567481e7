"""The rules of OpenAI's structured output for schemas with `strict`: closed objects, all fields required."""

from collections.abc import Iterator
from typing import Any

from headrace.simulator.error_reply import ErrorReply


def check_strict(schema: dict[str, Any], param: str) -> None:
    """Refuse a schema that the API would not take as strict.

    Raises:
        ErrorReply: 400, naming the place.
    """
    if schema.get("type") != "object":
        raise _not_strict(param, "", "the schema must be of type 'object'")
    for place, node in _nodes(schema, ""):
        if node.get("type") == "object" or "properties" in node:
            if node.get("additionalProperties") is not False:
                raise _not_strict(param, place, "'additionalProperties' must be false")
            missing = sorted((node.get("properties") or {}).keys() - set(node.get("required") or ()))
            if missing:
                raise _not_strict(param, place, f"'required' must include '{missing[0]}'")


def _nodes(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(node, dict):
        return
    yield place, node
    for group in ("properties", "$defs", "definitions"):
        for key, entry in (node.get(group) or {}).items():
            yield from _nodes(entry, f"{place}/{group}/{key}")
    yield from _nodes(node.get("items"), f"{place}/items")
    for index, entry in enumerate(node.get("anyOf", ())):
        yield from _nodes(entry, f"{place}/anyOf/{index}")


def _not_strict(param: str, place: str, what: str) -> ErrorReply:
    code = None if param == "response_format" else "invalid_function_parameters"
    return ErrorReply(400, f"Invalid schema for {param} at '{place or '/'}': {what}.", param=param, code=code)
