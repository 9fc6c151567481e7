"""Who a request counts for: the key, the user, the tenant and the address that a tier limits.

subjects_of(spec, Requester(key="key_1", tenant="acme", tier="free", user="ada", address="203.0.113.7"))
"""

from enum import StrEnum

import msgspec

from streams.control.specs import Bounds, LimitSpec
from streams.redis.keys import LIMIT_COUNTS, LIMIT_PERMITS, LIMIT_TIMES, digest


class LimitKind(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"

    def of(self, bounds: Bounds) -> int | None:
        """Return the limit of this kind; None for none."""
        match self:
            case LimitKind.REQUESTS:
                return bounds.requests_per_minute
            case LimitKind.TOKENS:
                return bounds.tokens_per_minute
            case LimitKind.CONCURRENT:
                return bounds.concurrent_requests


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a request. `address` is None where nothing is known of it."""

    key: str
    tenant: str
    tier: str
    user: str
    address: str | None = None


class LimitSubject(msgspec.Struct, frozen=True, kw_only=True):
    """One of those whom a request counts for. `scope` is the field of `LimitSpec` without its ``per_``."""

    scope: str
    name: str
    tier: str
    bounds: Bounds
    digest: str

    @property
    def times(self) -> str:
        """The Redis key of when something was taken."""
        return LIMIT_TIMES.key(self.digest)

    @property
    def counts(self) -> str:
        """The Redis key of how much was taken."""
        return LIMIT_COUNTS.key(self.digest)

    @property
    def permits(self) -> str:
        """The Redis key of the requests under way."""
        return LIMIT_PERMITS.key(self.digest)


def subjects_of(spec: LimitSpec, who: Requester) -> tuple[LimitSubject, ...]:
    """Return whom a request counts for: those that the tier limits.

    A user counts within the tenant, whatever the tier of the key; a tenant and an address within the tier.
    """
    found = (
        ("key", who.key, spec.per_key, ("key", who.tenant, who.key)),
        ("user", who.user, spec.per_user, ("user", who.tenant, who.user)),
        ("tenant", who.tenant, spec.per_tenant, ("tenant", who.tenant, who.tier)),
        ("address", who.address, spec.per_address, ("address", who.address, who.tier)),
    )
    return tuple(
        LimitSubject(
            scope=scope,
            name=name,
            tier=who.tier,
            bounds=bounds,
            digest=digest(msgspec.json.encode(identity)),
        )
        for scope, name, bounds, identity in found
        if name is not None and bounds != _UNBOUNDED
    )


_UNBOUNDED = Bounds()
