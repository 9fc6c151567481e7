"""Where a dead letter stands: what operators have done with it so far."""

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from headrace.ops.dlq.letters import Place
from streams.errors import InputError
from streams.events import DeadLetterAction


class State(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class Standing(msgspec.Struct, frozen=True):
    """The state of a dead letter, and how often it was replayed. The last action decides the state."""

    state: State = State.OPEN
    replays: int = 0

    def after(self, action: DeadLetterAction) -> "Standing":
        """Return the standing after one more action."""
        return Standing(State(action.action), self.replays + (action.action == "replayed"))


_OPEN = Standing()


class Standings:
    """The standings of many dead letters, from the actions in the order in which they were recorded.

    Args:
        wanted: which letters are of interest; nothing is kept of the others.
    """

    def __init__(self, wanted: Callable[[Place], bool] = lambda _: True) -> None:
        self._wanted = wanted
        self._known: dict[Place, Standing] = {}

    def add(self, action: DeadLetterAction) -> None:
        """Take note of an action; one that names no dead letter is ignored."""
        try:
            place = Place.parse(action.dead_letter)
        except InputError:
            return
        if self._wanted(place):
            self._known[place] = self.of(place).after(action)

    def of(self, place: Place) -> Standing:
        """Return where a letter stands."""
        return self._known.get(place, _OPEN)

    def known(self) -> Mapping[Place, Standing]:
        """Return the standing of every letter that something was done with."""
        return self._known
