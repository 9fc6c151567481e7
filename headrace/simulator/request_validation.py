"""The errors that a provider answers with, and checks of request bodies against the official SDKs' types.

The types are loaded without the SDKs' clients. They come from outside, so they check what Headrace sends
independently of it. They describe calls from Python. Three changes make them describe JSON: iterables become
arrays, alternatives that only Python has (open files, response objects) go, and unknown fields are refused.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, SchemaValidator


@dataclass(eq=False)
class ErrorReply(Exception):
    """A call that is answered with an error. `kind`, `param` and `code` are OpenAI's."""

    status: int
    message: str
    _: KW_ONLY
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Sequence[tuple[str, str]] = ()


def wrong_field(param: str, reason: str, code: str | None = None) -> ErrorReply:
    """Return the 400 for a field that the API does not take."""
    return ErrorReply(400, f"{param}: {reason}", param=param, code=code)


def model_not_found(name: str) -> ErrorReply:
    """Return the 404 for a model that the API does not serve."""
    return ErrorReply(404, f"The model `{name}` does not exist.", code="model_not_found")


def unreadable_body(reason: str) -> ErrorReply:
    """Return the 400 for a body that is not JSON."""
    return ErrorReply(400, f"We could not parse the JSON body of your request: {reason}")


T = TypeVar("T")
Limits = Mapping[str, Mapping[str, float]]

_PYTHON_ONLY = frozenset({"function-after", "function-plain", "is-instance", "lax-or-strict", "model"})
_TAGS = ("type", "role")
# Replies have fields that no request type has; clients send a reply back as it came.
_ECHOED = frozenset({"annotations"})


class RequestType:
    """The bodies that an endpoint takes: an SDK's type, and limits by field that the type does not say.

    Limits are those of pydantic's core schema: `ge`, `le` of numbers, `min_length`, `max_length` of the rest.
    """

    def __init__(self, typed_dict: type, limits: Limits) -> None:
        schema: Any = TypeAdapter(typed_dict).core_schema
        json_schema = _JsonBodySchema(schema).convert(schema)
        fields = json_schema.get("schema", json_schema)["fields"]
        for name, limit in limits.items():
            field = fields[name]["schema"]
            (field["schema"] if field["type"] == "nullable" else field).update(limit)
        self._validator = SchemaValidator(json_schema)

    def check(self, body: Any) -> None:
        """Check a decoded body. Raises `ErrorReply`: 400, about the field at fault."""
        try:
            self._validator.validate_python(body, strict=True)
        except ValidationError as invalid:
            found = [(_path_of(body, each), each) for each in invalid.errors(include_url=False)]
            faults = [
                (path, each["msg"])
                for path, each in found
                if not (each["type"] == "extra_forbidden" and path[-1] in _ECHOED)
            ]
            if faults:  # alternatives fail side by side; the one that fits best fails deepest
                raise _field_error(*max(faults, key=lambda fault: len(fault[0]))) from None


def _field_error(path: Sequence[int | str], message: str) -> ErrorReply:
    param = ""
    for part in path:
        param += f"[{part}]" if isinstance(part, int) else f".{part}" if param else part
    return wrong_field(param, message) if param else ErrorReply(400, message)


def _path_of(body: Any, error: ErrorDetails) -> list[int | str]:
    path = list(_path(body, error["loc"], missing=error["type"] == "missing"))
    if error["type"].startswith("union_tag"):
        path.append(error["ctx"]["discriminator"].strip("'()"))
    return path


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
    def __init__(self, schema: Any) -> None:
        self._definitions = {each["ref"]: each for each in schema.get("definitions", ())}

    def convert(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.convert(each) for each in node]
        return self._convert_object(node) if isinstance(node, dict) else node

    def _convert_object(self, node: Any) -> Any:
        match node.get("type"):
            case "generator":
                return {"type": "list", "items_schema": self.convert(node["items_schema"])}
            case "json-or-python":
                return self.convert(node["json_schema"])
            case "union":
                return self._union(node)
            case "definitions":
                kept = [each for each in node["definitions"] if each["type"] not in _PYTHON_ONLY]
                return {**node, "schema": self.convert(node["schema"]), "definitions": self.convert(kept)}
            case "typed-dict":
                fields = {name: self.convert(field) for name, field in node["fields"].items()}
                return {**node, "fields": fields, "extra_behavior": "forbid"}
        return {key: value if key == "metadata" else self.convert(value) for key, value in node.items()}

    def _union(self, union: Any) -> Any:
        choices = list(self._choices(union))
        objects = [each for each in choices if self._resolved(each)["type"] == "typed-dict"]
        made = [self.convert(each) for each in choices if each not in objects]
        tagged = next(filter(None, (self._tagged(objects, tag) for tag in _TAGS)), None)
        made += [tagged] if tagged else self.convert(objects)
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
            choices |= dict.fromkeys(kind["expected"], self.convert(each))
        if not choices:
            return None

        def tag_of(body: Any) -> Any:
            return (body.get(tag) or default) if isinstance(body, dict) else None

        tag_of.__name__ = tag
        return {"type": "tagged-union", "discriminator": tag_of if default else tag, "choices": choices}


def load_types(load: Callable[[], T], *packages: str) -> T:
    """Call `load`, which imports modules of an SDK, so that the packages' own code does not run.

    That code loads clients and all resources: 1.9 s of CPU and 70 MB for both SDKs; the request types alone
    take a tenth of it. Where the types need more, all of the SDK is loaded. `packages` are the SDK and
    those of its packages that the types are in, parents before children.
    """
    if packages[0] in sys.modules:
        return load()
    try:
        with _empty_packages(packages):
            return load()
    except (ImportError, AttributeError, NameError):
        return load()


@contextmanager
def _empty_packages(packages: Sequence[str]) -> Iterator[None]:
    """Put empty packages in `sys.modules`; nothing of the SDK is left in it afterwards."""
    try:
        for name in packages:
            parent = sys.modules.get(name.rpartition(".")[0])
            spec = PathFinder.find_spec(name, None if parent is None else list(parent.__path__))
            sys.modules[name] = empty = ModuleType(name)
            empty.__path__ = list(spec.submodule_search_locations or ()) if spec else []
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == packages[0]]:
            del sys.modules[name]
