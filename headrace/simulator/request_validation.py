"""Checks request bodies against the request types of the official SDKs.

The types come from outside, so they check what Headrace sends independently of it. They describe calls from
Python. Three changes make them describe JSON: iterables become arrays, alternatives that only Python has
(open files, response objects) go, and unknown fields are refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, SchemaValidator

from headrace.simulator.error_reply import ErrorReply

Limits = Mapping[str, Mapping[str, float]]

_PYTHON_ONLY = frozenset({"function-after", "function-plain", "is-instance", "lax-or-strict", "model"})
_TAGS = ("type", "role")
_CODES = {
    "extra_forbidden": "unknown_parameter",
    "literal_error": "invalid_value",
    "missing": "missing_required_parameter",
    "too_long": "above_max_length",
    "too_short": "empty_array",
    "union_tag_invalid": "invalid_value",
    "union_tag_not_found": "missing_required_parameter",
}
# Replies have fields that no request type has; clients send a reply back as it came.
_ECHOED = frozenset({"annotations"})


class RequestType:
    """The bodies that an endpoint takes.

    Args:
        typed_dict: An SDK's type.
        limits: What the type does not say, by field, as pydantic's core schema has it: `ge` and `le` of
            numbers, `min_length` and `max_length` of arrays and objects.
    """

    def __init__(self, typed_dict: type, limits: Limits) -> None:
        schema: Any = TypeAdapter(typed_dict).core_schema
        json_schema = _JsonBodySchema(schema).made()
        fields = json_schema.get("schema", json_schema)["fields"]
        for name, limit in limits.items():
            field = fields[name]["schema"]
            (field["schema"] if field["type"] == "nullable" else field).update(limit)
        self._validator = SchemaValidator(json_schema)

    def check(self, body: Any) -> None:
        """Check a decoded body.

        Raises:
            ErrorReply: 400, about the field at fault.
        """
        try:
            self._validator.validate_python(body, strict=True)
        except ValidationError as invalid:
            found = [_FieldFault(body, each) for each in invalid.errors(include_url=False)]
            faults = [fault for fault in found if not fault.echoes_a_reply]
            if faults:  # alternatives fail side by side; the one that fits best fails deepest
                raise max(faults, key=lambda fault: len(fault.path)).reply() from None


class _FieldFault:
    """One of pydantic's findings, and where it is in the body."""

    def __init__(self, body: Any, error: ErrorDetails) -> None:
        self._error = error
        self._kind = error["type"]
        self.path = list(_path(body, error["loc"], missing=self._kind == "missing"))
        if self._kind.startswith("union_tag"):
            self.path.append(error["ctx"]["discriminator"].strip("'()"))

    @property
    def echoes_a_reply(self) -> bool:
        return self._kind == "extra_forbidden" and self.path[-1] in _ECHOED

    def reply(self) -> ErrorReply:
        param = ""
        for part in self.path:
            param += f"[{part}]" if isinstance(part, int) else f".{part}" if param else part
        message = self._error["msg"]
        return ErrorReply(
            400, f"{param}: {message}" if param else message, param=param or None, code=self._code()
        )

    def _code(self) -> str:
        context = self._error.get("ctx", {})
        for key, code in (("le", "above_max_value"), ("ge", "below_min_value")):
            if key in context:
                return f"{'integer' if isinstance(context[key], int) else 'decimal'}_{code}"
        return _CODES.get(self._kind, "invalid_type")


def _path(body: Any, location: tuple[int | str, ...], *, missing: bool) -> Iterator[int | str]:
    """Keep of pydantic's location the parts that are in the body: not its names of alternatives."""
    value, is_new = body, True
    for number, part in enumerate(location, start=1):
        if isinstance(value, dict):
            if is_new and part in [value.get(tag) for tag in _TAGS]:
                is_new = False
            elif part in value or (missing and number == len(location)):
                yield part
                value, is_new = value.get(part), True
        elif isinstance(value, list) and isinstance(part, int):
            yield part
            value, is_new = value[part], True


class _JsonBodySchema:
    """Makes the core schema of JSON bodies from that of Python calls."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._definitions = {each["ref"]: each for each in schema.get("definitions", ())}

    def made(self) -> Any:
        return self._convert(self._schema)

    def _convert(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._convert(each) for each in node]
        return self._convert_object(node) if isinstance(node, dict) else node

    def _convert_object(self, node: Any) -> Any:
        match node.get("type"):
            case "generator":
                return {"type": "list", "items_schema": self._convert(node["items_schema"])}
            case "json-or-python":
                return self._convert(node["json_schema"])
            case "union":
                return self._union(node)
            case "definitions":
                kept = [each for each in node["definitions"] if each["type"] not in _PYTHON_ONLY]
                return {**node, "schema": self._convert(node["schema"]), "definitions": self._convert(kept)}
            case "typed-dict":
                fields = {name: self._convert(field) for name, field in node["fields"].items()}
                return {**node, "fields": fields, "extra_behavior": "forbid"}
        return {key: value if key == "metadata" else self._convert(value) for key, value in node.items()}

    def _union(self, union: Any) -> Any:
        choices = list(self._choices(union))
        objects = [each for each in choices if self._resolved(each)["type"] == "typed-dict"]
        made = [self._convert(each) for each in choices if each not in objects]
        tagged = next(filter(None, (self._tagged(objects, tag) for tag in _TAGS)), None)
        made += [tagged] if tagged else self._convert(objects)
        return made[0] if len(made) == 1 else {"type": "union", "choices": made}

    def _choices(self, union: Any) -> Iterator[Any]:
        for choice in union["choices"]:
            resolved = self._resolved(choice)
            if resolved["type"] == "json-or-python":
                yield from self._choices({"choices": [resolved["json_schema"]]})
            elif resolved["type"] == "union":
                yield from self._choices(resolved)
            elif resolved["type"] not in _PYTHON_ONLY:
                yield choice

    def _resolved(self, node: Any) -> Any:
        return self._definitions[node["schema_ref"]] if node["type"] == "definition-ref" else node

    def _tagged(self, objects: list[Any], tag: str) -> CoreSchema | None:
        """Return the union in which a tag tells the alternatives apart, or None where none does."""
        choices: dict[Any, Any] = {}
        default: str | None = None
        for each in objects:
            field = self._resolved(each)["fields"].get(tag)
            kind = field and (
                field["schema"]["schema"] if field["schema"]["type"] == "nullable" else field["schema"]
            )
            if not kind or kind["type"] != "literal":
                return None
            if not field["required"]:
                default = kind["expected"][0]
            choices |= dict.fromkeys(kind["expected"], self._convert(each))
        if not choices:
            return None

        def tag_of(body: Any) -> Any:
            return (body.get(tag) or default) if isinstance(body, dict) else None

        tag_of.__name__ = tag
        return {"type": "tagged-union", "discriminator": tag_of if default else tag, "choices": choices}
