"""What each kind of control record says, and the names that `headrace.yaml` has for the kinds.

    spec = read_spec("limit", "free", {"per_user": {"requests_per_minute": 10}})   # LimitSpec(…)
    read_spec("limit", "free", {"per_usr": {}})   # InvalidControl: limits.free: unknown field "per_usr"

Unknown fields are refused: a misspelt limit would limit nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from streams.errors import InputError
from streams.events.requests import Name
from streams.model_catalogue import STANDARD_TIER, ProviderProtocol
from streams.settings.fields import is_http_address

Scope = Literal["chat", "read", "admin"]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
#: The address of an issuer; plain http is for one on this machine or in this cluster.
IssuerUrl = Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)", max_length=2_000)]
#: The pattern's end refuses a final line break.
TierName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")]


_MAX_NAME_CHARS = 200


class InvalidControl(InputError):
    """A control record that is wrong: the message says where, and what to change."""


class ControlId(msgspec.Struct, frozen=True, order=True):
    """Which record: its kind and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


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

    url: IssuerUrl
    audiences: Annotated[tuple[Name, ...], Meta(min_length=1)]
    tenant: Name | None = None
    tenant_claim: Name | None = None
    user_claim: Name = "sub"
    tier: TierName = "standard"
    tier_claim: Name | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)] = ("chat", "read")
    jwks_url: IssuerUrl | None = None

    def __post_init__(self) -> None:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("say either tenant or tenant_claim")

    @property
    def name(self) -> str:
        """What its tokens call it: `url`, whether or not that ends with a slash."""
        return self.url.rstrip("/")


class ProviderSpec(Spec, frozen=True, kw_only=True):
    """A server of models, which the record's name names in rows, replies and metrics.

    Paths of the `protocol` are appended to `base_url`: ``/chat/completions`` and ``/embeddings``, or
    ``/v1/messages``. `api_key_env` names the variable that holds the key in the workers' environment; None:
    the server wants none. Its name ends with ``_API_KEY``, so that no other secret can be sent anywhere.
    """

    protocol: ProviderProtocol
    base_url: Annotated[str, Meta(max_length=2048)]
    api_key_env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$(?!\n)")] | None = None

    def __post_init__(self) -> None:
        variable = self.api_key_env or "_API_KEY"
        if not variable.endswith("_API_KEY") or variable.startswith("HEADRACE_"):
            raise ValueError(
                f"api_key_env must end with _API_KEY, and not begin with HEADRACE_: {variable} may be a "
                "secret that is not meant for a provider"
            )
        if not is_http_address(self.base_url) or any(each <= " " for each in self.base_url):
            raise ValueError("base_url must be an address such as https://host/v1, without a query")
        parts = urlsplit(self.base_url)
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "base_url must be without user and password: name the variable of the key in api_key_env"
            )


def protocols_of(providers: Mapping[str, ProviderSpec]) -> dict[str, ProviderProtocol]:
    """Return what every provider speaks, by name: the shipped ones, and those of records."""
    shipped = {each.value: each for each in ProviderProtocol}
    return shipped | {name: spec.protocol for name, spec in providers.items()}


Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]
_MAX_USD = 10_000
_MAX_TIMES = 10
#: ClickHouse gets prices with nine decimals: a price times a multiple has no more.
_USD_DECIMALS, _TIMES_DECIMALS = 6, 3


def _check_decimal(name: str, value: Decimal | None, most: int, decimals: int) -> None:
    if value is None:
        return
    if not (value.is_finite() and 0 <= value <= most):
        raise ValueError(f"{name} must be from 0 to {most:,}, got {value}")
    if value != round(value, decimals):
        raise ValueError(f"{name} must have at most {decimals} decimals, got {value}")


class RatesSpec(Spec, frozen=True, kw_only=True):
    """US dollars per million tokens of each kind, exact: a number, or a text such as "0.075".

    Of what is not given, cached input and cache writes cost what input costs, writes for an hour what other
    writes do, and reasoning what output does.
    """

    input_usd_per_million: Decimal
    output_usd_per_million: Decimal | None = None
    cached_input_usd_per_million: Decimal | None = None
    cache_write_usd_per_million: Decimal | None = None
    cache_write_1h_usd_per_million: Decimal | None = None
    reasoning_usd_per_million: Decimal | None = None

    def __post_init__(self) -> None:
        for name in RatesSpec.__struct_fields__:
            _check_decimal(name, getattr(self, name), _MAX_USD, _USD_DECIMALS)


class LongContextSpec(Spec, frozen=True, kw_only=True):
    """With more than `above_tokens` of input, all tokens of a call cost so many times as much."""

    above_tokens: Tokens
    input_times: Decimal
    output_times: Decimal

    def __post_init__(self) -> None:
        for name in ("input_times", "output_times"):
            _check_decimal(name, getattr(self, name), _MAX_TIMES, _TIMES_DECIMALS)


class PriceSpec(RatesSpec, frozen=True, kw_only=True):
    """The standard rates, and those of other service tiers and of long prompts.

    A tier goes by the name that the provider reports; one that is not named costs the standard rates.
    """

    service_tiers: dict[Annotated[str, Meta(min_length=1, max_length=32)], RatesSpec] = {}
    long_context: LongContextSpec | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if standard := {STANDARD_TIER, "default", "auto"} & set(self.service_tiers):
            raise ValueError(
                f"service_tiers: {min(standard)!r} is the standard tier, whose rates are stated beside it"
            )


class EmbeddingSpec(Spec, frozen=True, kw_only=True):
    """The vectors of a model: how many numbers they have, and whether shorter ones may be asked for."""

    max_dimensions: Annotated[int, Meta(ge=1, le=65_536)]
    takes_dimensions: bool = False


class ModelSpec(Spec, frozen=True, kw_only=True):
    """A model, which requests name by the record's name or an alias; it replaces a shipped one of that name.

    The price must be stated, unless `known_prices` has it; 0 is a price. With `embedding` the model makes
    embeddings and cannot chat, and `context_window_tokens` is the length of one text.
    """

    provider: Name
    upstream_name: Name | None = None
    aliases: tuple[Name, ...] = ()
    context_window_tokens: Tokens
    max_output_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    price: PriceSpec
    embedding: EmbeddingSpec | None = None

    def __post_init__(self) -> None:
        outputs = [each.output_usd_per_million for each in (self.price, *self.price.service_tiers.values())]
        if self.embedding is not None:
            if self.max_output_tokens or any(outputs):
                raise ValueError(
                    "a model for embeddings has no output: leave out max_output_tokens and "
                    "output_usd_per_million"
                )
        elif None in outputs:
            raise ValueError("price.output_usd_per_million must be stated, also of each tier; 0 is a price")
        elif not 1 <= self.max_output_tokens <= self.context_window_tokens:
            raise ValueError(
                f"max_output_tokens must be from 1 to context_window_tokens ({self.context_window_tokens}), "
                f"got {self.max_output_tokens}"
            )


#: By kind: its name in `headrace.yaml`, and what its records say.
KINDS: Mapping[str, tuple[str, type[Spec]]] = {
    "limit": ("limits", LimitSpec),
    "key": ("keys", KeySpec),
    "issuer": ("issuers", IssuerSpec),
    "provider": ("providers", ProviderSpec),
    "model": ("models", ModelSpec),
}
#: The kind of each section of `headrace.yaml`.
SECTIONS: Mapping[str, str] = {section: kind for kind, (section, _) in KINDS.items()}


def read_spec(kind: str, name: str, spec: Any) -> Spec:
    """Return what a record says; `InvalidControl` where it is wrong."""
    if kind not in KINDS:
        raise InvalidControl(f"there is no kind {kind!r}; there are: {', '.join(KINDS)}", param="kind")
    section, form = KINDS[kind]
    if not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        raise InvalidControl(
            f"{section}: a name must have 1 to {_MAX_NAME_CHARS} printable characters, not {name[:80]!r}",
            param=section,
        )
    try:
        found: Spec = msgspec.convert(spec, form)
    except msgspec.ValidationError as fault:
        what, _, place = str(fault).partition(" - at `$")
        where = f"{section}.{name}{place.rstrip('`')}"
        raise InvalidControl(f"{where}: {what}", param=where) from fault
    return found
