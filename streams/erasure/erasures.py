"""The list of erased users, which everything that stores data of users has to apply.

An erasure is one record on `llm.erasures.v1`. It contains no name, but a salted hash of tenant and user, to
which a known name can be compared, and the random pseudonym that replaces the name. Once the record is gone
nothing links the pseudonym to anybody.

An erasure covers what was accepted before it was ordered. A user who comes back later is a new user.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Self

import msgspec

from streams.events import Erasure, ErasureMode

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
        """How many users are on it."""
        return len(self._known)

    def learned(self, records: Iterable[tuple[str, Erasure | None]]) -> Self:
        """Return the list with the topic's records applied: by digest; None removes one."""
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
        """Return an erasure of what was accepted before `until`; it extends a former one of the user."""
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
