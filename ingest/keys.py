"""The accepted API keys, and whose they are."""

import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from streams.errors import ConfigurationError
from streams.settings import ApiKey


class Caller(msgspec.Struct, frozen=True):
    """Whose request it is. Neither can be set by the client."""

    tenant: str
    tier: str


class Keyring:
    """The accepted API keys, kept as digests.

    Raises:
        ConfigurationError: no key is configured; an open door is never the default.
    """

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        if not keys:
            raise ConfigurationError(
                "no API key is configured: set HEADRACE_API_KEY to a secret of your choice, or "
                'HEADRACE_API_KEYS to {"key": {"tenant": "…", "tier": "…"}}'
            )
        if not all(key.strip() for key in keys):
            raise ConfigurationError("HEADRACE_API_KEY and the keys in HEADRACE_API_KEYS must not be empty")
        self._callers = [(_digest(key), Caller(owner.tenant, owner.tier)) for key, owner in keys.items()]

    def caller(self, presented: str) -> Caller | None:
        """Return whose key this is, or None. It takes the same time whichever key it is."""
        digest = _digest(presented)
        found = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
