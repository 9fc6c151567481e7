"""What each kind of control record says, and the names that `headrace.yaml` has for the kinds.

    spec = read_spec("limit", "free", {"per_user": {"requests_per_minute": 10}})   # LimitSpec(…)
    read_spec("limit", "free", {"per_usr": {}})   # InvalidControl: limits.free: unknown field "per_usr"

Unknown fields are refused: a misspelt limit would limit nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from streams.errors import InputError
from streams.events.requests import Name

Scope = Literal["chat", "read", "admin"]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
#: An address; plain http is for servers on this machine or in this cluster.
HttpAddress = Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)", max_length=2_000)]
#: The pattern's end refuses a final line break.
TierName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")]


class InvalidControl(InputError):
    """A control record that is wrong: the message says where, and what to change."""


class ControlId(msgspec.Struct, frozen=True, order=True):
    """Which record: its kind and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, key: str) -> Self:
        """Return the id that a record's key names."""
        kind, _, name = key.partition(":")
        return cls(kind, name)


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what a control record says."""


class Bounds(Spec, frozen=True, kw_only=True):
    """What one key, user, tenant or address may do; None: as much as it likes.

    A minute is the sixty seconds before each request. `tokens_per_minute` counts a request's input and the
    most that it may answer, until it has ended; then what it used.
    """

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent_requests: Count | None = None


class LimitSpec(Spec, frozen=True, kw_only=True):
    """The limits of a tier, which is the record's name. A request must be within all of them.

    `per_user` counts the requests of a user over all keys of the tenant, `per_tenant` those of all its users
    of this tier.
    """

    per_key: Bounds = Bounds()
    per_user: Bounds = Bounds()
    per_tenant: Bounds = Bounds()
    per_address: Bounds = Bounds()


class KeySpec(Spec, frozen=True, kw_only=True):
    """An API key, by the SHA-256 of what its owner holds; the record's name is the key's id.

    With a `user` the key speaks for this user only; without, a request may name the user it is for.
    """

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    tenant: Name
    tier: TierName
    user: Name | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)] = ("chat", "read")
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class IssuerSpec(Spec, frozen=True, kw_only=True):
    """An issuer of OIDC tokens, which callers may send instead of an API key.

    A token counts where `url` is its issuer and one of `audiences` its audience. Its tenant is `tenant`, or
    what `tenant_claim` says; its user what `user_claim` says; its tier what `tier_claim` says, where there is
    one, and `tier` else. The signing keys are found by discovery, or are at `jwks_url`.
    """

    url: HttpAddress
    audiences: Annotated[tuple[Name, ...], Meta(min_length=1)]
    tenant: Name | None = None
    tenant_claim: Name | None = None
    user_claim: Name = "sub"
    tier: TierName = "standard"
    tier_claim: Name | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)] = ("chat", "read")
    jwks_url: HttpAddress | None = None

    def __post_init__(self) -> None:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("say either tenant or tenant_claim")


#: By kind: its name in `headrace.yaml`, and what its records say.
KINDS: Mapping[str, tuple[str, type[Spec]]] = {
    "limit": ("limits", LimitSpec),
    "key": ("keys", KeySpec),
    "issuer": ("issuers", IssuerSpec),
}
#: The kind of each section of `headrace.yaml`.
SECTIONS: Mapping[str, str] = {section: kind for kind, (section, _) in KINDS.items()}


def read_spec(kind: str, name: str, spec: Any) -> Spec:
    """Return what a record says; `InvalidControl` where it is wrong."""
    if kind not in KINDS:
        raise InvalidControl(f"there is no kind {kind!r}; there are: {', '.join(KINDS)}", param="kind")
    section, form = KINDS[kind]
    try:
        found: Spec = msgspec.convert(spec, form)
    except msgspec.ValidationError as fault:
        what, _, place = str(fault).partition(" - at `$")
        where = f"{section}.{name}{place.rstrip('`')}"
        raise InvalidControl(f"{where}: {what}", param=where) from fault
    return found
