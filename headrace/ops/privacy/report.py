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

    What was accepted until `until` is erased; `kept` is what stays on Kafka until its retention is over.
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
