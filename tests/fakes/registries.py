"""The request registry in memory, saying what a test tells it to."""

from dataclasses import dataclass, field
from typing import Any

from streams.errors import SpendPending, StoreUnavailable
from streams.events import Reply, ReplyAddress
from streams.registry.registry import Registration, Settlement, SubmissionState


@dataclass
class ScriptedRegistry:
    """Answers every registration with `registration`; keeps what it was asked.

    `broken`: how many of the next calls fail as if Redis were away.
    """

    registration: Registration = field(default_factory=lambda: Registration(SubmissionState.NEW))
    waiters: tuple[ReplyAddress, ...] = ()
    broken: int = 0
    spent: bool = False
    registered: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, Reply] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    finished_replays: list[int] = field(default_factory=list)

    async def register(self, request_id: str, **given: Any) -> Registration:
        """Keep what is registered."""
        self._fail()
        self.registered.append({"request_id": request_id} | given)
        return self.registration

    async def begin_settle(self, reply: Reply, *, tenant: str, knows_spend: bool = True) -> Settlement:
        """Keep the first reply."""
        self._fail()
        if self.spent and not knows_spend and reply.request_id not in self.stored:
            raise SpendPending("spent")
        stored = self.stored.setdefault(reply.request_id, reply)
        return Settlement(reply.request_id in self.finished, stored, self.waiters)

    async def finish_settle(self, request_id: str, *, replay: int = 0) -> bool:
        """Note that it is done, where there is a reply."""
        self._fail()
        self.finished_replays.append(replay)
        if request_id in self.stored:
            self.finished.add(request_id)
        return request_id in self.stored

    def _fail(self) -> None:
        if self.broken:
            self.broken -= 1
            raise StoreUnavailable("Redis: away")
