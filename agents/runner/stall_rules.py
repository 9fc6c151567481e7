"""When a consumer counts as stuck: judged by what moves, not by whether the process lives.

A consumer is not stuck, however long it lasts,

- when it is idle: there is no record that it has not begun;
- when it waits for a slow provider: its stage has said that it may work until the request's deadline;
- when Redis is away: its records are put aside after seconds, and so they move;
- when the broker is away. `agents.runner.watchdog` asks it after half of the stall time-out; if it
  does not answer, all time-outs begin anew (`StageWatch.forgive`).

Stuck, once nothing has moved for the stall time-out, is a consumer

- that has room for records and does not ask for any (*not_polling*), does not begin with those that are there
  (*not_fetching*), or gets no answers to its fetches (*silent*: the broker is asked whether there are any);
- that does not commit what is acknowledged (*not_committing*);
- that has had a record in hand for longer than its stage can need for it (*overdue*);
- whose group is being rebalanced without an end, or which never joins it (*rebalancing*).
"""

from collections.abc import Hashable, Mapping

import msgspec

from agents.runner.in_flight import RecordWork
from agents.runner.stage_app import ConsumerView

#: What does not move, as in this module's description, and where if there is more than one place.
_Condition = tuple[str, str]

#: Conditions that count only if the broker has records that the consumer has not fetched.
NEEDS_RECORDS = frozenset({"silent"})


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """Something has not moved for the stall time-out."""

    stage: str
    what: str  # a stable name of what does not move, as in this module's description
    for_s: float
    detail: str  # what was seen, for the log


class StageWatch:
    """Watches one consumer from one look to the next."""

    def __init__(self, *, now: float) -> None:
        self._since: dict[_Condition, tuple[Hashable, float]] = {}
        self._forgiven_at = now
        self._committed: dict[tuple[str, int], int | None] = {}
        self.last_commit_at: float | None = None

    def look(self, view: ConsumerView, now: float, *, longer_than_s: float) -> Stall | None:
        """Take note of what the consumer does, and say what has not moved for longer than so many seconds.

        Where there is more than one such thing, it is the one that has not moved for longest.
        """
        self._note_commits(view, now)
        seen = _conditions(view)
        for each in self._since.keys() - seen.keys():
            del self._since[each]
        for each, (key, _) in seen.items():
            if each not in self._since or self._since[each][0] != key:
                self._since[each] = key, now
        found = [
            Stall(
                stage=view.name,
                what=each[0],
                for_s=now - max(self._since[each][1], self._forgiven_at),
                detail=detail,
            )
            for each, (_, detail) in seen.items()
        ]
        found += [self._late(view.name, work, now) for work in view.in_flight]
        longest = max(found, key=lambda each: each.for_s, default=None)
        return longest if longest is not None and longest.for_s > longer_than_s else None

    def forgive(self, now: float) -> None:
        """Begin anew: what did not move could not, or had no reason to."""
        self._forgiven_at = now

    def _late(self, stage: str, work: RecordWork, now: float) -> Stall:
        # What it was allowed counts from its beginning; only the patience beyond that begins anew.
        due_at = max(work.began_at + work.allowed_s, self._forgiven_at)
        detail = f"{work.place} is in flight for {now - work.began_at:.0f} s"
        return Stall(stage=stage, what="overdue", for_s=now - due_at, detail=detail)

    def _note_commits(self, view: ConsumerView, now: float) -> None:
        committed = {(each.topic, each.partition): each.committed for each in view.partitions}
        before, self._committed = self._committed, committed
        if any(at in before and before[at] != offset for at, offset in committed.items()):
            self.last_commit_at = now


def _conditions(view: ConsumerView) -> Mapping[_Condition, tuple[Hashable, str]]:
    """Return what could be a stall if it lasts, each with what must stay the same while it does."""
    if not view.joined:
        return {("rebalancing", ""): (view.rebalances, "it has never joined its group")}
    if view.rebalancing:
        return {("rebalancing", ""): (view.rebalances, f"rebalance {view.rebalances} does not end")}
    found: dict[_Condition, tuple[Hashable, str]] = {}
    for each in view.partitions:
        if each.committable is not None and each.committable > (each.committed or 0):
            place = f"{each.topic}:{each.partition}"
            detail = f"{place} is acknowledged up to {each.committable}, and committed up to {each.committed}"
            found["not_committing", place] = each.committed, detail
    if view.held < view.limit and view.partitions:
        found["not_polling", ""] = view.polls, f"has not asked for records since poll {view.polls}"
        if _has_waiting(view):
            detail = f"lag {view.lag}, {view.held} of {view.limit} in hand"
            found["not_fetching", ""] = view.last_begin_at, detail
        else:
            fetched = tuple(each.fetched_at_ms for each in view.partitions)
            detail = f"no answer to a fetch since {fetched} (Unix ms)"
            found["silent", ""] = (view.last_begin_at, fetched), detail
    return found


def _has_waiting(view: ConsumerView) -> bool:
    """Whether there are records that the consumer knows of and has not begun."""
    known = any(
        each.highwater is not None and each.position is not None and each.highwater > each.position
        for each in view.partitions
    )
    return known or sum(each.in_hand for each in view.partitions) > view.held
