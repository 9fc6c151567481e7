"""Stream tokens: a signed permission to read one request's events for a while.

Browsers' `EventSource` cannot send headers, and an API key does not belong in an address. A token stands in
for it: it opens `/v1/requests/{id}/events` of one request and nothing else. Nothing is stored for it, so
every replica takes what any other has given.

    token   = base64url(payload) "." base64url(HMAC-SHA256(secret, length of id, id, payload))
    payload = JSON [tenant, expiry in Unix seconds]
"""

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Self

import msgspec

from streams.settings import Settings

_PURPOSE = b"headrace stream token 1"
#: Memory-hard (16 MiB, some 50 ms), so that nobody guesses short API keys from a token, offline.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
_MAX_TOKEN_CHARS = 2_048


class StreamToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was given, and until when it opens its stream."""

    token: str
    expires_at: datetime


class TokenAccepted(msgspec.Struct, frozen=True):
    """The token is valid: it reads for this tenant."""

    tenant: str


class TokenExpired(msgspec.Struct, frozen=True):
    """The token was valid until then."""

    expired_at: datetime


class TokenInvalid(msgspec.Struct, frozen=True):
    """Not a token of ours, not for this request, or from before the keys were changed."""


class StreamTokens:
    """Gives and checks stream tokens.

    The secret is the same on every replica. Tokens of tenants without an API key are refused.
    """

    def __init__(
        self, secret: bytes, *, tenants: Iterable[str], ttl_s: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")
        self._tenants = frozenset(tenants)
        self._ttl_s = ttl_s
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the tokens of this installation.

        Without a secret of their own, the tokens are signed with one that is derived from all API keys: a
        change of the keys ends them all.
        """
        given = settings.stream_token_secret
        secret = given.get_secret_value().encode() if given else _secret_from(settings.keys)
        tenants = {owner.tenant for owner in settings.keys.values()}
        return cls(secret, tenants=tenants, ttl_s=settings.stream_token_ttl_s)

    def give(self, request_id: str, tenant: str) -> StreamToken:
        """Return a token for the events of this request, which is this tenant's."""
        expiry = int(self._clock()) + self._ttl_s
        payload = msgspec.json.encode((tenant, expiry))
        expires_at = datetime.fromtimestamp(expiry, UTC)
        return StreamToken(token=self._token(request_id, payload), expires_at=expires_at)

    def check(self, token: str, request_id: str) -> TokenAccepted | TokenExpired | TokenInvalid:
        """Say whether `token` opens the events of this request."""
        if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
            return TokenInvalid()
        try:
            payload = urlsafe_b64decode(token.partition(".")[0] + "==")
        except ValueError:
            return TokenInvalid()
        # Compared as a whole: another spelling of the same bytes is no token of ours.
        if not hmac.compare_digest(token, self._token(request_id, payload)):
            return TokenInvalid()
        tenant, expiry = msgspec.json.decode(payload, type=tuple[str, int])  # signed: it is as we wrote it
        if self._clock() >= expiry:
            return TokenExpired(datetime.fromtimestamp(expiry, UTC))
        return TokenAccepted(tenant) if tenant in self._tenants else TokenInvalid()

    def _token(self, request_id: str, payload: bytes) -> str:
        name = request_id.encode("utf-8", "surrogateescape")
        signature = hmac.digest(self._key, len(name).to_bytes(4, "big") + name + payload, "sha256")
        return f"{_base64url(payload)}.{_base64url(signature)}"


def _secret_from(keys: Iterable[str]) -> bytes:
    material = msgspec.json.encode(sorted(keys))
    return hashlib.scrypt(material, salt=_PURPOSE, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
