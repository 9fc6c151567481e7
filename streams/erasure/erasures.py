"""Who is to be forgotten: the list that everything which stores what users did has to apply.

An erasure is one record on `llm.erasures.v1`. It names nobody: it holds a salted hash of tenant and user,
which whoever has a user's name at hand can compare, and the pseudonym that takes the name's place. The
pseudonym is random. No key turns it back, and once its record is gone nothing links it to anybody.

An erasure covers what was accepted until it was ordered. A user who comes back later is a new user.
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
    """A user of a tenant: the same user id under another tenant is somebody else."""

    tenant: str
    user_id: str


class ErasureList:
    """The erasures that are known. It does not change: what is learnt makes a new list.

    Args:
        known: by their digests.
    """

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
        """Return the list with what the topic's records say: by digest, None where one is taken off."""
        known = dict(self._known)
        for digest, erasure in records:
            if erasure is None:
                known.pop(digest, None)
            else:
                known[digest] = erasure
        return type(self)(known)

    def find(self, subject: Subject) -> Erasure | None:
        """Return the erasure of a user, whatever it covers; None where the user is not on the list."""
        for salt in self._salts.get(subject.tenant, ()):
            found = self._known.get(digest_of(subject, salt))
            if found is not None:
                return found
        return None

    def behind(self, pseudonym: Subject) -> Erasure | None:
        """Return the erasure that has given a user this name; None where the name is a user's own."""
        return self._by_pseudonym.get(pseudonym)

    def ordered(self, subject: Subject, *, mode: ErasureMode, until: datetime) -> Erasure:
        """Return the erasure of a user, to be put on the list: a former one of the same user goes on with it.

        Args:
            subject: who is to be forgotten.
            mode: what is done with the rows.
            until: what was accepted until then is covered.
        """
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
    """Return what the list knows a user by: HMAC-SHA256 of tenant and user id under the salt, in hex."""
    # The length keeps tenant "a", user "bc" apart from tenant "ab", user "c".
    named = f"{len(subject.tenant)}:{subject.tenant}{subject.user_id}".encode("utf-8", "surrogatepass")
    return hmac.digest(salt.encode(), named, hashlib.sha256().name).hex()
