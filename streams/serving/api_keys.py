"""API keys: the one that a request presents, the accepted ones with their owners, and how one is made.

Keys are kept as SHA-256 digests. They are random, so that nobody finds a key from its digest.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from streams.control.specs import KeySpec, Scope
from streams.control.state import ControlState
from streams.errors import ConfigurationError
from streams.serving.responses import forbidden, unauthorized
from streams.settings import Settings

#: The user of requests that name none.
DEFAULT_USER = "anonymous"
#: What makes a key known for one of Headrace, in a log or a repository.
KEY_PREFIX = "hr_"
_ID_PREFIX = "key_"
_SETTINGS_ID_PREFIX = "env_"
_ID_DIGITS = 12
_KEY_BYTES = 32
_ID_BYTES = 6

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def presented_key(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    api_key: Annotated[str | None, Security(_header)],
) -> str | None:
    """Return the key that a request presents, or None. The bearer token goes first."""
    presented = (bearer.credentials if bearer else api_key) or None
    if presented is None or presented.isascii():
        return presented
    return presented.encode("latin-1", "replace").decode("utf-8", "replace")  # header text is UTF-8


PresentedKey = Annotated[str | None, Depends(presented_key)]


def required(presented: str | None) -> str:
    """Return the key; raise the 401 where there is none."""
    if presented is None:
        raise unauthorized("no API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    return presented


class Caller(msgspec.Struct, frozen=True):
    """The owner of an API key; clients cannot set any field.

    A key with the scope `admin` sees all tenants and changes control records; with a `user` it speaks for
    nobody else. `key` is the key's id; one of the settings begins with `env_`, and the admin's has none.
    """

    tenant: str
    tier: str
    scopes: tuple[Scope, ...] = ("chat", "read")
    user: str | None = None
    key: str = ""

    def check_scope(self, *any_of: Scope) -> None:
        """Raise the 403 where the key has none of the scopes that open this."""
        if not set(any_of) & set(self.scopes):
            wanted, given = " or ".join(map(repr, any_of)), ", ".join(self.scopes)
            raise forbidden(f"this API key has no scope {wanted}; it has: {given}", code="missing_scope")

    def check_whole_tenant(self) -> None:
        """Raise the 403 for a key of one user, where the answer is about all users of the tenant."""
        if self.user is not None:
            raise forbidden(
                f"this API key is of the user {self.user!r}: it does not see what others of its tenant did",
                code="user_not_allowed",
            )

    def speaks_for(self, user: str) -> str:
        """Return the user of a request that names `user`; raise the 403 for another one than the key's."""
        if self.user is None or user == self.user:
            return user
        if user == DEFAULT_USER:
            return self.user
        raise forbidden(
            f"this API key speaks for the user {self.user!r} only: leave the user out, or name that one",
            code="user_not_allowed",
            param="user",
        )


class ApiKeys:
    """The accepted keys: those of the settings, and those of control records, which come and go.

    Raises `ConfigurationError` for an empty key, or an admin key that is an API key too.
    """

    def __init__(
        self, given: Mapping[str, Caller], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        if not all(key.strip() for key in given):
            raise ConfigurationError(
                "HEADRACE_API_KEY, the keys in HEADRACE_API_KEYS and HEADRACE_ADMIN_KEY must not be empty"
            )
        if not all(caller.tenant or caller.scopes == ("admin",) for caller in given.values()):
            raise ConfigurationError("HEADRACE_API_KEYS: every key needs a tenant that is not empty")
        self._given = {digest_of_key(key): caller for key, caller in given.items()}
        self._recorded: Mapping[str, tuple[str, KeySpec]] = {}
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> "ApiKeys":
        """Return the keys of the settings."""
        given = {
            key: Caller(owner.tenant, owner.tier, key=_SETTINGS_ID_PREFIX + digest_of_key(key)[:_ID_DIGITS])
            for key, owner in settings.keys.items()
        }
        if settings.admin_key is not None:
            admin = settings.admin_key.get_secret_value()
            if admin in given:
                raise ConfigurationError(
                    "HEADRACE_ADMIN_KEY is an API key too: who has it would see every tenant; choose another"
                )
            given[admin] = Caller("", tier="", scopes=("admin",))
        return cls(given)

    def follow(self, state: ControlState) -> None:
        """Accept the keys of these control records, and no others beside those of the settings."""
        self._recorded = {key.sha256: (name, key) for name, key in state.specs(KeySpec).items()}

    def __bool__(self) -> bool:
        return bool(self._given or self._recorded)

    def has_tenant(self, tenant: str) -> bool:
        """Whether a tenant has a key."""
        return any(caller.tenant == tenant for caller in self._given.values()) or any(
            key.tenant == tenant and not self._has_expired(key) for _, key in self._recorded.values()
        )

    def named(self, key_id: str) -> Caller | None:
        """Return the owner of the key with this id, also of one that has expired; None for none."""
        given = (caller for caller in self._given.values() if caller.key)
        recorded = (_recorded(name, key) for name, key in self._recorded.values())
        return next((caller for caller in (*given, *recorded) if caller.key == key_id), None)

    def caller(self, presented: str | None) -> Caller:
        """Return the owner of a key; raise the 401 without one, or for one that is unknown or has expired."""
        digest = digest_of_key(required(presented))
        if (found := self._recorded.get(digest)) is not None:
            name, key = found
            if key.expires_at is not None and self._has_expired(key):
                raise unauthorized(f"the API key expired at {key.expires_at.isoformat()}")
            return _recorded(name, key)
        if (caller := self._given.get(digest)) is None:
            raise unauthorized("the API key is not known here")
        return caller

    def _has_expired(self, key: KeySpec) -> bool:
        return key.expires_at is not None and key.expires_at <= self._clock()


def _recorded(name: str, key: KeySpec) -> Caller:
    return Caller(key.tenant, key.tier, key.scopes, key.user, name)


def new_key() -> tuple[str, str]:
    """Return a new key's id, and the key itself, which is stored nowhere."""
    return _ID_PREFIX + secrets.token_hex(_ID_BYTES), KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest_of_key(key: str) -> str:
    """Return the SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
