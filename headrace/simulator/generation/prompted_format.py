"""The output form that a system prompt asks for in words, as models obey whose API has no field for it."""

import json
import re

from headrace.simulator.generation.chat_task import OutputForm, OutputKind
from headrace.simulator.generation.schema_values import UnsupportedSchema, check_schema

_ASKS_FOR_JSON = re.compile(r"\b(?:one|a|as|only|valid) JSON(?: object)?\b", re.IGNORECASE)
_GIVES_SCHEMA = re.compile(r"\bJSON Schema:?\s*(?=\{)", re.IGNORECASE)


def prompted_form(system: str) -> OutputForm:
    """Return the form that a system prompt asks for: JSON, after the schema that it quotes, or text."""
    if not _ASKS_FOR_JSON.search(system):
        return OutputForm()
    quoted = _GIVES_SCHEMA.search(system)
    if quoted is not None:
        try:
            schema, _ = json.JSONDecoder().raw_decode(system, quoted.end())
            check_schema(schema)
        except (json.JSONDecodeError, UnsupportedSchema, RecursionError):
            pass  # the model does what it can
        else:
            return OutputForm(kind=OutputKind.JSON_SCHEMA, schema=schema)
    return OutputForm(kind=OutputKind.JSON_OBJECT)
