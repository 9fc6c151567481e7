"""The list of erased users, and how it is read. Everything that stores data of users must apply it.

An erasure is one record on `llm.erasures.v1`. It contains no name, but a salted hash of tenant and user, to
which a known name can be compared, and the random pseudonym that replaces the name. Once the record is gone
nothing links the pseudonym to anybody.

An erasure covers what was accepted before it was ordered. A user who comes back later is a new user.

A writer of user data reads the list before the write and after it (`ErasureFeed.current`). The second answer
contains every erasure that the broker had acknowledged by then.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Self

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from streams.errors import KafkaUnavailable
from streams.events import Erasure, ErasureMode
from streams.kafka.inspector import KafkaInspector
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.publisher import Emit
from streams.redelivery import own_event
from streams.topics import ERASURES

#: All erasures are on one partition: there are few, and one end offset is quickly known.
PARTITION = 0
_PARTITION = TopicPartition(ERASURES.name, PARTITION)

PSEUDONYM_PREFIX = "erased-"
_SALT_BYTES = 16
_PSEUDONYM_BYTES = 12


class Subject(msgspec.Struct, frozen=True, order=True):
    """A user of a tenant. The same id under another tenant is another user."""

    tenant: str
    user_id: str


class ErasureList:
    """An immutable list of erasures, `known` by their digests."""

    def __init__(self, known: Mapping[str, Erasure] | None = None) -> None:
        self._known = dict(known or {})
        self._by_pseudonym = {
            Subject(erasure.tenant, erasure.pseudonym): erasure for erasure in self._known.values()
        }
        # All erasures of a tenant share one salt, unless the first two were ordered at the same moment.
        self._salts: dict[str, tuple[str, ...]] = {}
        for erasure in self._known.values():
            salts = self._salts.get(erasure.tenant, ())
            if erasure.salt not in salts:
                self._salts[erasure.tenant] = (*salts, erasure.salt)

    def __len__(self) -> int:
        """Return the number of erased users."""
        return len(self._known)

    def learned(self, records: Iterable[tuple[str, Erasure | None]]) -> Self:
        """Return the list with records of the topic applied, by digest; None removes an erasure."""
        known = dict(self._known)
        for digest, erasure in records:
            if erasure is None:
                known.pop(digest, None)
            else:
                known[digest] = erasure
        return type(self)(known)

    def find(self, subject: Subject) -> Erasure | None:
        """Return the erasure of a user, or None."""
        for salt in self._salts.get(subject.tenant, ()):
            found = self._known.get(digest_of(subject, salt))
            if found is not None:
                return found
        return None

    def behind(self, pseudonym: Subject) -> Erasure | None:
        """Return the erasure that has given a user this pseudonym, or None."""
        return self._by_pseudonym.get(pseudonym)

    def ordered(self, subject: Subject, *, mode: ErasureMode, until: datetime) -> Erasure:
        """Return a new erasure of what was accepted before `until`; it extends an earlier one of the user."""
        former = self.find(subject)
        if former is not None:
            return msgspec.structs.replace(former, mode=mode, until=max(until, former.until))
        salts = self._salts.get(subject.tenant, ())
        salt = salts[0] if salts else secrets.token_hex(_SALT_BYTES)
        return Erasure(
            digest=digest_of(subject, salt),
            salt=salt,
            tenant=subject.tenant,
            mode=mode,
            pseudonym=PSEUDONYM_PREFIX + secrets.token_hex(_PSEUDONYM_BYTES),
            until=until,
        )


def digest_of(subject: Subject, salt: str) -> str:
    """Return the digest of a user: HMAC-SHA256 of tenant and user id under the salt, in hex."""
    # The length keeps tenant "a", user "bc" apart from tenant "ab", user "c".
    named = f"{len(subject.tenant)}:{subject.tenant}{subject.user_id}".encode("utf-8", "surrogatepass")
    return hmac.digest(salt.encode(), named, hashlib.sha256().name).hex()


def erasure_emit(erasure: Erasure) -> Emit:
    """Return the record that orders an erasure."""
    return Emit.to(ERASURES, erasure, key=erasure.digest, partition=PARTITION)


class ErasureFeed:
    """Reads the topic to its end for each question. It connects with the first question.

    `timeout_s` bounds one answer; the first one reads the whole topic. Records that Headrace did not write,
    by `auth`, are ignored.
    """

    def __init__(
        self, bootstrap: str, *, client_id: str, timeout_s: float = 15.0, auth: RecordAuth = UNSIGNED
    ) -> None:
        self._kafka = KafkaInspector(bootstrap, client_id=client_id, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        self._auth = auth
        self._list = ErasureList()
        self._position = 0
        self._asking = asyncio.Lock()

    async def aclose(self) -> None:
        """Disconnect, and keep the list."""
        await self._kafka.close()

    async def current(self) -> ErasureList:
        """Return the list with all that was ordered before the call; the same object if nothing was."""
        async with self._asking:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._catch_up()
            except (KafkaUnavailable, TimeoutError) as fault:
                await self.aclose()
                why = str(fault) or f"not read within {self._timeout_s:g} s"
                raise KafkaUnavailable(
                    f"cannot read {ERASURES.name}: {why} (without the topic: headrace topics create)"
                ) from fault

    async def _catch_up(self) -> ErasureList:
        end = (await self._kafka.end_offsets([_PARTITION]))[_PARTITION]
        reading = self._kafka.read_between({_PARTITION: self._position}, {_PARTITION: end})
        records = [each async for record in reading if (each := self._read(record)) is not None]
        self._position = end
        if records:
            self._list = self._list.learned(records)
        return self._list

    def _read(self, record: ConsumerRecord) -> tuple[str, Erasure | None] | None:
        """Return digest and erasure of a record; None for one that is unreadable or forged."""
        if record.value is None and self._auth.wrote(record):
            return (record.key or b"").decode(errors="replace"), None
        erasure = own_event(record, Erasure, self._auth, reader="erasures")
        return None if erasure is None else (erasure.digest, erasure)
