"""The base of all events, and the constrained types that several of them share."""

from typing import Annotated

from msgspec import Meta, Struct

#: The longest deadline a request may name, in milliseconds: 6 hours. Replies are kept longer than that.
MAX_DEADLINE_MS = 6 * 60 * 60 * 1000

#: The end of the pattern refuses a final line break, which `$` alone lets through.
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$(?!\n)")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything that is encoded on a topic."""
