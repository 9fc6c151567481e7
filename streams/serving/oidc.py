"""OIDC tokens: whose they are, by the issuers of control records.

A token (a JWT) is checked by the issuer's own keys, which are found by OIDC discovery, kept, and asked for
again when they are old or a token names one that is not there. Only asymmetric signatures count. Issuer,
audience and expiry are required; clocks may differ by a minute.
"""

import asyncio
import hashlib
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from streams.control.specs import IssuerSpec, LimitSpec
from streams.control.state import ControlState
from streams.serving.api_keys import Caller
from streams.serving.responses import ApiError, unauthorized, unavailable

log = structlog.get_logger(__name__)

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
_DISCOVERY = "/.well-known/openid-configuration"
_LEEWAY_S = 60
#: Longer tokens are refused unread, longer answers of an issuer as well.
_MAX_TOKEN_CHARS = 8_192
_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_CLAIM_CHARS = 256
_FETCH_TIMEOUT_S = 5.0
#: Keys are asked for again after an hour, and not more often than twice a minute for a key that is missing.
_FRESH_S = 3_600.0
_ASK_AGAIN_S = 30.0
#: So long a token counts without being checked again: its issuer may have replaced the key that signed it.
_KNOWN_S = 300.0
_MAX_KNOWN = 10_000


class _Keys(msgspec.Struct, kw_only=True):
    """The keys of an issuer: when they came, and when they were last asked for, in monotonic seconds."""

    found: KeySet | None = None
    came_at: float = float("-inf")
    asked_at: float = float("-inf")
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)


class OidcTokens:
    """Checks tokens. `close` ends the connections to issuers."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._issuers: Mapping[str, IssuerSpec] = {}
        self._tiers: frozenset[str] = frozenset()
        self._keys: dict[str, _Keys] = {}
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    def has_tenant(self, tenant: str) -> bool:
        """Whether a token may be of this tenant."""
        return any(each.tenant in (tenant, None) for each in self._issuers.values())

    def follow(self, state: ControlState) -> None:
        """Accept tokens of the issuers of these control records, and of no others."""
        issuers = {each.name: each for each in state.specs(IssuerSpec).values()}
        tiers = frozenset(state.specs(LimitSpec))
        if (issuers, tiers) != (self._issuers, self._tiers):
            before, self._issuers, self._tiers = self._issuers, issuers, tiers
            same = {url for url, issuer in issuers.items() if before.get(url) == issuer}
            self._keys = {url: keys for url, keys in self._keys.items() if url in same}
            self._known.clear()

    async def caller(self, token: str) -> Caller:
        """Return whose a token is; raise the 401, or the 503 where the issuer's keys are not to be had."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        if (known := self._known.get(digest)) is not None and self._clock() < known[1]:
            self._known.move_to_end(digest)
            return known[0]
        issuer = self._issuer_of(token)
        claims = await self._checked(token, issuer)
        found = _owner(claims, issuer, self._tiers)
        if self._issuers.get(issuer.name) is issuer:  # it may have been taken away meanwhile
            self._known[digest] = found, min(claims["exp"] + _LEEWAY_S, self._clock() + _KNOWN_S)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return found

    async def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()

    def _issuer_of(self, token: str) -> IssuerSpec:
        """Return the issuer that a token names, unchecked."""
        if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
            raise _refused(f"it is longer than {_MAX_TOKEN_CHARS:,} characters, or not ASCII")
        try:
            claims = msgspec.json.decode(urlsafe_b64decode(token.split(".")[1] + "=="))
            named = str(claims["iss"]).rstrip("/")
        except (ValueError, LookupError, TypeError, msgspec.DecodeError):
            raise _refused("the token cannot be read") from None
        if (issuer := self._issuers.get(named)) is None:
            raise _refused("its issuer is not known here")
        return issuer

    async def _checked(self, token: str, issuer: IssuerSpec) -> dict[str, Any]:
        """Return the claims of a token."""
        keys = await self._keys_of(issuer)
        try:
            try:
                claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            except InvalidKeyIdError:  # it may have been made since
                keys = await self._keys_of(issuer, anew=True)
                claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            jwt.JWTClaimsRegistry(
                now=lambda: int(self._clock()),
                leeway=_LEEWAY_S,
                iss={"essential": True, "values": [issuer.url, issuer.name, issuer.url + "/"]},
                aud={"essential": True, "values": list(issuer.audiences)},
                exp={"essential": True},
            ).validate(claims)
        except ExpiredTokenError:
            raise _refused("it has expired", code="expired_token") from None
        except (JoseError, ValueError, TypeError) as fault:
            log.info("oidc.refused", issuer=issuer.url, error=str(fault))
            raise _refused(f"{fault}") from None
        return claims

    async def _keys_of(self, issuer: IssuerSpec, *, anew: bool = False) -> KeySet:
        """Return the keys of an issuer; those from before where it does not answer."""
        keys = self._keys.setdefault(issuer.name, _Keys())
        if keys.found is not None and keys.lock.locked() and not anew:
            return keys.found  # somebody asks already
        async with keys.lock:
            now = time.monotonic()
            due = now - keys.came_at > _FRESH_S or anew
            if due and now - keys.asked_at > _ASK_AGAIN_S:
                keys.asked_at = now
                try:
                    keys.found, keys.came_at = await self._fetch(issuer), time.monotonic()
                except (aiohttp.ClientError, TimeoutError, JoseError, ValueError, LookupError) as fault:
                    log.warning("oidc.keys_unavailable", issuer=issuer.url, error=repr(fault))
        if keys.found is None:
            raise unavailable("the keys of the token's issuer cannot be had: try again later")
        return keys.found

    async def _fetch(self, issuer: IssuerSpec) -> KeySet:
        url = issuer.jwks_url
        if url is None:
            found = await self._get(issuer.name + _DISCOVERY)
            if str(found["issuer"]).rstrip("/") != issuer.name:
                raise ValueError(f"it calls itself {found['issuer']!r}")
            url = str(found["jwks_uri"])
        said = await self._get(url)
        # Keys for encryption and shared secrets sign nothing here; one that cannot be read spoils no other.
        usable = [each for each in said["keys"] if each.get("use", "sig") == "sig" and each["kty"] != "oct"]
        return KeySet.import_key_set({"keys": usable})

    async def _get(self, url: str) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S))
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                raise ValueError(f"{url} answers {response.status}")
            body = await response.content.read(_MAX_ANSWER_BYTES + 1)
            while len(body) <= _MAX_ANSWER_BYTES and (more := await response.content.read(_MAX_ANSWER_BYTES)):
                body += more
        if len(body) > _MAX_ANSWER_BYTES:
            raise ValueError(f"{url} answers with more than {_MAX_ANSWER_BYTES:,} bytes")
        return msgspec.json.decode(body, type=dict[str, Any])


def _owner(claims: Mapping[str, Any], issuer: IssuerSpec, tiers: Collection[str]) -> Caller:
    def claim(name: str) -> str:
        said = claims.get(name)
        if not isinstance(said, str) or not 1 <= len(said) <= _MAX_CLAIM_CHARS:
            raise _refused(f"its claim {name!r} must be a text of 1 to {_MAX_CLAIM_CHARS} characters")
        return said

    claimed = claims.get(issuer.tier_claim) if issuer.tier_claim else None
    return Caller(
        tenant=claim(issuer.tenant_claim) if issuer.tenant_claim else issuer.tenant or "",
        tier=claimed if isinstance(claimed, str) and claimed in tiers else issuer.tier,
        scopes=issuer.scopes,
        user=claim(issuer.user_claim),
    )


def _refused(why: str, *, code: str = "invalid_token") -> ApiError:
    return unauthorized(f"the token is refused: {why}", code=code)
