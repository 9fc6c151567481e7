# ruff: noqa: F403  # the package is one namespace: `from streams.events import Reply`
"""The events on the topics, as frozen structs; JSON on the wire. Begin with `requests`, then `envelope`.

A sender's `ChatRequested` or `EmbeddingsRequested` is put into an `Envelope` by the first stage. Every stage
extends it and hands it on. `OutcomeReached` is the last event of every request: the cost stage makes of it
the one `Reply`, the one `RequestLog` and the `LedgerEntry` records.

Times are UTC-aware, durations carry their unit in the name, money is `Decimal` US dollars and a JSON string.
Unknown fields are ignored: an older reader understands a newer writer.
"""

from streams.events.control import *
from streams.events.envelope import *
from streams.events.requests import *
from streams.events.results import *
