"""What an erasure found, what is left of it, and what stays for a while."""

from datetime import datetime
from enum import StrEnum

import msgspec

from headrace.ops.privacy.user_requests import RetainedTopic
from streams.events import ErasureMode


class ErasureVerdict(StrEnum):
    """How an erasure ended."""

    PLANNED = "planned"  # a dry run: nothing was changed
    ERASED = "erased"  # the last look found nothing
    UNDER_WAY = "under way"  # requests of the user have not ended yet: run it again
    LEFT = "left"  # something is still there: run it again


class StoredItems(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of stored data: how many items the first look found, and how many the last one."""

    part: str
    name: str
    found: int
    left: int


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result. It does not name the user.

    Attributes:
        tenant: whose user it was.
        mode: what was done with the rows.
        pseudonym: what stands for the user now, where rows remain.
        until: what was accepted until then is erased.
        requests: how many requests of the user are known.
        places: what was found where.
        under_way: how many requests had not ended at the last look.
        kept: what stays on Kafka until its retention is over.
        verdict: how it ended.
    """

    tenant: str
    mode: ErasureMode
    pseudonym: str
    until: datetime
    requests: int
    places: tuple[StoredItems, ...]
    under_way: int
    kept: tuple[RetainedTopic, ...]
    verdict: ErasureVerdict
