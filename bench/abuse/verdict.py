"""How an attack ended."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent and what did not hold.

    Attributes:
        sent: by kind.
        answered: by status, or by what the broker refused a record for.
        witnessed: requests of the witness.
        memory_mib: of each process, before and after.
        faults: what did not hold; empty where all did.
    """

    seed: int
    sent: Mapping[str, int]
    answered: Mapping[str, int]
    witnessed: int
    seconds: float
    memory_mib: Mapping[str, tuple[int, int]]
    faults: list[str]


def counted(faults: Iterable[str]) -> list[str]:
    """Return each fault once, with how often there was one like it."""
    return [f"{each} (× {count})" if count > 1 else each for each, count in Counter(faults).items()]
