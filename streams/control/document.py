"""`headrace.yaml`: control records as one readable file, by section and name; and its JSON Schema.

    limits:
      free:
        per_user: {requests_per_minute: 10}

A record that the file does not name stays as it is. One that is null is taken away.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from streams.control.known_prices import with_known_price
from streams.control.specs import KINDS, SECTIONS, ControlId, InvalidControl, read_spec

#: Larger files are a mistake: a thousand models take 300 kB.
MAX_BYTES = 4 * 1024 * 1024


class _StrictLoader(yaml.SafeLoader):
    """Reads YAML, and refuses a name that is there twice: the last one would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Return the mapping."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := {name for name in names if names.count(name) > 1}:
            place = f"line {node.start_mark.line + 1}"
            raise yaml.constructor.ConstructorError(f"{min(twice)!r} is there twice, below {place}")
        return super().construct_mapping(node, deep)


def read_document(
    text: str | bytes, *, name: str = "headrace.yaml"
) -> dict[ControlId, Mapping[str, Any] | None]:
    """Return what a file says, checked, by record. Raises `InvalidControl`: the message says where."""
    if len(text) > MAX_BYTES:
        raise InvalidControl(f"{name} is larger than {MAX_BYTES:,} bytes")
    try:
        sections = yaml.load(text, _StrictLoader) or {}  # noqa: S506  # it is a safe one
    except yaml.YAMLError as fault:
        raise InvalidControl(f"{name} is no YAML: {' '.join(str(fault).split())}") from fault
    if not isinstance(sections, dict):
        raise InvalidControl(f"{name} must have sections such as `{next(iter(SECTIONS))}:`")
    found: dict[ControlId, Mapping[str, Any] | None] = {}
    for section, records in sections.items():
        if section not in SECTIONS:
            raise InvalidControl(
                f"{name}: there is no section {section!r}; there are: {', '.join(SECTIONS)}",
                param=str(section),
            )
        if not isinstance(records, dict | None):
            raise InvalidControl(f"{name}: {section} must be names, each with what it says", param=section)
        for record, spec in (records or {}).items():
            of = ControlId(SECTIONS[section], str(record))
            said = with_known_price(of, spec)
            if said is not None:
                read_spec(of.kind, of.name, said)
            found[of] = said
    return found


@cache
def shipped_records() -> dict[ControlId, Mapping[str, Any]]:
    """Return what holds without any control record."""
    text = files("streams.control").joinpath("shipped.yaml").read_text("utf-8")
    return {of: spec for of, spec in read_document(text, name="shipped.yaml").items() if spec is not None}


def document_schema() -> dict[str, Any]:
    """Return the JSON Schema of `headrace.yaml`, for editors."""
    forms = [form for _, form in KINDS.values()]
    schemas, components = msgspec.json.schema_components(forms, ref_template="#/$defs/{name}")
    components["ModelSpec"]["required"].remove("price")  # `with_known_price` adds it
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "headrace.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            section: {
                "type": ["object", "null"],
                "additionalProperties": {"anyOf": [schema, {"type": "null"}]},
            }
            for section, schema in zip(SECTIONS, schemas, strict=True)
        },
        "$defs": _with_numbers(components),
    }


def _with_numbers(schema: Any) -> Any:
    """Let a decimal be a number too, as it is read: msgspec's schema has the text alone."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return schema | {"type": ["number", "string"]}
        return {name: _with_numbers(part) for name, part in schema.items()}
    return [_with_numbers(part) for part in schema] if isinstance(schema, list) else schema
