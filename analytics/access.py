"""Whose rows a caller may see."""

from collections.abc import Mapping

import msgspec

from streams.errors import ConfigurationError, InputError
from streams.serving.api_keys import KeyTable
from streams.settings import ApiKey


class TenantNotAllowed(InputError):
    """A caller asked for a tenant that is not its own."""


class TenantScope(msgspec.Struct, frozen=True):
    """The rows that a key opens: those of one tenant, or all of them where `tenant` is None (the admin's)."""

    tenant: str | None

    def narrowed(self, asked: str) -> str:
        """Return the tenant that a query is about (empty: all), or raise `TenantNotAllowed`."""
        if self.tenant is None:
            return asked
        if asked not in ("", self.tenant):
            raise TenantNotAllowed(
                f"this key sees the tenant {self.tenant!r} only: leave the parameter tenant out",
                code="tenant_not_allowed",
                param="tenant",
            )
        return self.tenant


def analyst_keys(keys: Mapping[str, ApiKey], admin_key: str | None) -> KeyTable[TenantScope]:
    """Return the keys: an API key opens its tenant, the admin key all; `ConfigurationError` if unsafe."""
    if admin_key is not None and admin_key in keys:
        raise ConfigurationError(
            "HEADRACE_ADMIN_KEY is an API key too: who has it would see every tenant; choose another one"
        )
    if not all(owner.tenant for owner in keys.values()):
        raise ConfigurationError("HEADRACE_API_KEYS: every key needs a tenant that is not empty")
    scopes = {key: TenantScope(owner.tenant) for key, owner in keys.items()}
    return KeyTable(scopes if admin_key is None else {**scopes, admin_key: TenantScope(None)})
