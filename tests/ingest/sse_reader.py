"""Server-sent events as a client reads them."""

import json
from typing import Any


def events(body: str) -> list[tuple[str, Any]]:
    """Return (name, data) of every event; comments are left out, ``[DONE]`` stays text."""
    found = []
    for block in body.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" not in fields:
            continue  # e.g. `retry`, which is no event
        data = fields["data"]
        found.append((fields.get("event", "message"), data if data == "[DONE]" else json.loads(data)))
    return found
