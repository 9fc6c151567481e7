"""Who sees which version."""

import pytest

from agents.prompts import Experiment

USERS = [f"user-{number}" for number in range(20_000)]


def experiment(name: str = "e", traffic_pct: int = 10) -> Experiment:
    return Experiment(name=name, template="t", control="v1", variant="v2", traffic_pct=traffic_pct)


def in_variant(which: Experiment) -> set[str]:
    return {user for user in USERS if which.assign(user) == ("variant", "v2")}


def test_the_variant_gets_its_share() -> None:
    """A tenth of the users; the standard error of 20,000 is 0.2 points."""
    assert 0.09 < len(in_variant(experiment())) / len(USERS) < 0.11


@pytest.mark.parametrize(("traffic_pct", "share"), [(0, 0.0), (100, 1.0)])
def test_nobody_and_everybody(traffic_pct: int, share: float) -> None:
    """The ends of the scale are exact."""
    assert len(in_variant(experiment(traffic_pct=traffic_pct))) == share * len(USERS)


def test_a_user_always_gets_the_same_arm() -> None:
    """From one process, machine and day to the next: these values are part of running experiments."""
    which = experiment("general_chat_v2_test")
    users = [f"user_{number:03}" for number in range(60)]
    variant = [user for user in users if which.assign(user) == ("variant", "v2")]
    assert variant == ["user_018", "user_019", "user_032", "user_042", "user_049"]
    assert all(which.assign(user) == ("control", "v1") for user in set(users) - set(variant))


def test_more_traffic_only_adds_users() -> None:
    """Ramping up takes nobody out of the variant again."""
    assert in_variant(experiment(traffic_pct=10)) < in_variant(experiment(traffic_pct=30))


def test_two_experiments_are_independent() -> None:
    """Being in one says nothing about the other: about a tenth of a tenth is in both."""
    both = in_variant(experiment("e")) & in_variant(experiment("f"))
    assert 0.006 < len(both) / len(USERS) < 0.014
