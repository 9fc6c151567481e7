"""Where a dead letter stands, from the actions on it."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from headrace.ops.dlq.letters import Place
from headrace.ops.dlq.standing import Standing, Standings, State
from streams.events import DeadLetterAction


def action(dead_letter: str, what: Literal["replayed", "discarded"]) -> DeadLetterAction:
    return DeadLetterAction(dead_letter=dead_letter, action=what, by="ann", at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], Standing(State.OPEN, 0)),
        (["replayed"], Standing(State.REPLAYED, 1)),
        (["discarded"], Standing(State.DISCARDED, 0)),
        (["discarded", "replayed"], Standing(State.REPLAYED, 1)),
        (["replayed", "replayed"], Standing(State.REPLAYED, 2)),
        (["replayed", "discarded"], Standing(State.DISCARDED, 1)),
    ],
)
def test_the_last_action_decides_and_replays_are_counted(
    actions: list[Literal["replayed", "discarded"]],
    expected: Standing,
) -> None:
    """A letter with no action is open."""
    standings = Standings()
    for each in actions:
        standings.add(action("1:7", each))
    assert standings.of(Place(1, 7)) == expected
    assert standings.of(Place(1, 8)) == Standing(State.OPEN, 0)


def test_nothing_is_kept_of_letters_that_nobody_asked_about() -> None:
    """A trail of years costs no memory; what names no letter is passed over."""
    standings = Standings(lambda place: place.partition == 1)
    for name in ("0:7", "1:7", "nonsense"):
        standings.add(action(name, "discarded"))
    assert list(standings.known()) == [Place(1, 7)]
