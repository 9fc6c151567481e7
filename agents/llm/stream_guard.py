"""What the LLM stage needs of the output check: a guard over a streamed answer."""

from collections.abc import Callable
from typing import Protocol

from streams.events import CacheMissed


class StreamGuard(Protocol):
    """Checks one answer as it is written: see `agents.output.streaming_guard.StreamingGuard`."""

    @property
    def blocked_by(self) -> str | None:
        """The rule that blocked the answer, once one has."""
        ...

    def feed(self, chunk: str) -> str:
        """Take the next chunk and return the text that is safe to publish now."""
        ...

    def finish(self) -> tuple[str, object]:
        """Return the rest that is safe to publish, and the guard's verdict on the whole."""
        ...


#: Makes the guard of one request.
GuardFactory = Callable[[CacheMissed], StreamGuard]
