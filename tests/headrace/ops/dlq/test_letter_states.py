"""Where a dead letter stands, from the actions on it."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from headrace.ops.dlq.letters import LetterId, LetterState, LetterStates, LetterStatus
from streams.events import DeadLetterAction


def action(dead_letter: str, what: Literal["replayed", "discarded"]) -> DeadLetterAction:
    return DeadLetterAction(dead_letter=dead_letter, action=what, by="ann", at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], LetterState(LetterStatus.OPEN, 0)),
        (["replayed"], LetterState(LetterStatus.REPLAYED, 1)),
        (["discarded"], LetterState(LetterStatus.DISCARDED, 0)),
        (["discarded", "replayed"], LetterState(LetterStatus.REPLAYED, 1)),
        (["replayed", "replayed"], LetterState(LetterStatus.REPLAYED, 2)),
        (["replayed", "discarded"], LetterState(LetterStatus.DISCARDED, 1)),
    ],
)
def test_the_last_action_decides_and_replays_are_counted(
    actions: list[Literal["replayed", "discarded"]],
    expected: LetterState,
) -> None:
    """A letter with no action is open."""
    states = LetterStates()
    for each in actions:
        states.add(action("1:7", each))
    assert states.of(LetterId(1, 7)) == expected
    assert states.of(LetterId(1, 8)) == LetterState(LetterStatus.OPEN, 0)


def test_nothing_is_kept_of_letters_that_nobody_asked_about() -> None:
    """A trail of years costs no memory; what names no letter is passed over."""
    states = LetterStates(lambda place: place.partition == 1)
    for name in ("0:7", "1:7", "nonsense"):
        states.add(action(name, "discarded"))
    assert (states.of(LetterId(0, 7)).status, states.of(LetterId(1, 7)).status) == (
        LetterStatus.OPEN,
        LetterStatus.DISCARDED,
    )
