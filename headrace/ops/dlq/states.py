"""The state of a dead letter: what operators have done with it so far."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from headrace.ops.dlq.letters import LetterId
from streams.errors import InputError
from streams.events import DeadLetterAction


class LetterStatus(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class LetterState(msgspec.Struct, frozen=True):
    """The status of a dead letter, and how often it was replayed. The last action decides the status."""

    status: LetterStatus = LetterStatus.OPEN
    replays: int = 0


_OPEN = LetterState()


class LetterStates:
    """The states of many dead letters, from the actions in the order in which they were recorded.

    Nothing is kept of letters that are not `wanted`.
    """

    def __init__(self, wanted: Callable[[LetterId], bool] = lambda _: True) -> None:
        self._wanted = wanted
        self._known: dict[LetterId, LetterState] = {}

    def add(self, action: DeadLetterAction) -> None:
        """Apply an action. One that names no dead letter is ignored."""
        try:
            letter_id = LetterId.parse(action.dead_letter)
        except InputError:
            return
        if self._wanted(letter_id):
            replays = self.of(letter_id).replays + (action.action == "replayed")
            self._known[letter_id] = LetterState(LetterStatus(action.action), replays)

    def of(self, letter_id: LetterId) -> LetterState:
        """Return the state of a letter."""
        return self._known.get(letter_id, _OPEN)
