"""The accepted API keys, and whose they are."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from streams.errors import ConfigurationError
from streams.settings import ApiKey

T = TypeVar("T")


class Caller(msgspec.Struct, frozen=True):
    """Whose request it is. Neither can be set by the client."""

    tenant: str
    tier: str


class KeyTable(Generic[T]):
    """Keys, kept as digests, and what each stands for.

    Raises:
        ConfigurationError: a key is empty.
    """

    def __init__(self, owners: Mapping[str, T]) -> None:
        if not all(key.strip() for key in owners):
            raise ConfigurationError(
                "HEADRACE_API_KEY, the keys in HEADRACE_API_KEYS and HEADRACE_ADMIN_KEY must not be empty"
            )
        self._owners = [(_digest(key), owner) for key, owner in owners.items()]

    def owner(self, presented: str) -> T | None:
        """Return what this key stands for, or None. It takes the same time whichever key it is."""
        digest = _digest(presented)
        found = None
        for known, owner in self._owners:
            if hmac.compare_digest(known, digest):
                found = owner
        return found


class Keyring:
    """The accepted API keys of those who send requests.

    Raises:
        ConfigurationError: no key is configured; an open door is never the default.
    """

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        if not keys:
            raise ConfigurationError(
                "no API key is configured: set HEADRACE_API_KEY to a secret of your choice, or "
                'HEADRACE_API_KEYS to {"key": {"tenant": "…", "tier": "…"}}'
            )
        self._table = KeyTable({key: Caller(owner.tenant, owner.tier) for key, owner in keys.items()})

    def caller(self, presented: str) -> Caller | None:
        """Return whose key this is, or None. It takes the same time whichever key it is."""
        return self._table.owner(presented)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
