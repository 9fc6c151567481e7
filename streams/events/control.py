"""What operators change while Headrace runs."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from streams.events.requests import Event, Name


class ControlRecord(Event, frozen=True, kw_only=True):
    """One version of what an operator has set: a key, the limits of a tier (`streams.control.specs`).

    `version` counts from 1 and never repeats, also after the record was taken away: then `spec` is None.
    """

    kind: Name
    name: Name
    version: Annotated[int, Meta(ge=1)]
    spec: dict[str, Any] | None
    author: str
    at: datetime
    reason: str = ""
