"""Authentication: the dependencies of every route but the probes and the page, and stream tokens.

A stream token is a signed permission to read one request's events for a while. Browsers' `EventSource` cannot
send headers, and an API key does not belong in an address: a token opens `/v1/requests/{id}/events` of one
request and nothing else. Nothing is stored for it, so every replica takes what any other has given.

    token   = base64url(payload) "." base64url(HMAC-SHA256(secret, length of id, id, payload))
    payload = JSON [tenant, expiry in Unix seconds]
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Self

import msgspec
from fastapi import Depends, Query, Request

from streams.events import ErrorInfo
from streams.kafka.record_auth import key_of_redis
from streams.serving.api_keys import Caller, PresentedKey
from streams.serving.callers import Callers
from streams.serving.responses import ApiError
from streams.settings import Settings

_PURPOSE = b"headrace stream token 1"
#: Memory-hard (16 MiB, some 50 ms), so that nobody guesses short API keys from a token, offline.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
_MAX_TOKEN_CHARS = 2_048
_RANDOM_BYTES = 32


class StreamToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was given, and until when it opens its stream."""

    token: str
    expires_at: datetime


class StreamTokens:
    """Gives and checks stream tokens; those of tenants without an API key are refused."""

    def __init__(
        self,
        secret: bytes,
        *,
        has_tenant: Callable[[str], bool],
        ttl_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")
        self._has_tenant = has_tenant
        self._ttl_s = ttl_s
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings, callers: Callers) -> Self:
        """Return the tokens of this installation, for tenants for whom anybody may call.

        Without a secret of their own, the tokens are signed with one that is derived from the installation's
        other secrets: a change of these ends them all. Where there is none, this process makes one.
        """
        given = settings.stream_token_secret
        if given:
            secret = given.get_secret_value().encode()
        else:
            material = _secrets_of(settings)
            secret = hashlib.scrypt(material, salt=_PURPOSE, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
        return cls(secret, has_tenant=callers.has_tenant, ttl_s=settings.stream_token_ttl_s)

    def give(self, request_id: str, tenant: str) -> StreamToken:
        """Return a token for the events of this request, which is this tenant's."""
        expiry = int(self._clock()) + self._ttl_s
        payload = msgspec.json.encode((tenant, expiry))
        expires_at = datetime.fromtimestamp(expiry, UTC)
        return StreamToken(token=self._token(request_id, payload), expires_at=expires_at)

    def tenant_of(self, token: str, request_id: str) -> str:
        """Return the tenant whose token opens the events of this request; 401 for any other token."""
        if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
            raise _invalid()
        try:
            payload = urlsafe_b64decode(token.partition(".")[0] + "==")
        except ValueError:
            raise _invalid() from None
        # Compared as a whole: another spelling of the same bytes is no token of ours.
        if not hmac.compare_digest(token, self._token(request_id, payload)):
            raise _invalid()
        tenant, expiry = msgspec.json.decode(payload, type=tuple[str, int])  # signed: it is as we wrote it
        if self._clock() >= expiry:
            expired_at = datetime.fromtimestamp(expiry, UTC).isoformat()
            raise _refused("expired_stream_token", f"the stream token expired at {expired_at}")
        if not self._has_tenant(tenant):
            raise _invalid()
        return tenant

    def _token(self, request_id: str, payload: bytes) -> str:
        name = request_id.encode("utf-8", "surrogateescape")
        signature = hmac.digest(self._key, len(name).to_bytes(4, "big") + name + payload, "sha256")
        return f"{_base64url(payload)}.{_base64url(signature)}"


def _secrets_of(settings: Settings) -> bytes:
    """Return what only this installation knows: its API keys, and what signs its records."""
    signing = [key.get_secret_value() for key in settings.record_keys]
    shared = key_of_redis(settings.redis_url)
    known = [*sorted(settings.keys), *signing, *([shared.hex()] if shared else [])]
    return msgspec.json.encode(known) if known else secrets.token_bytes(_RANDOM_BYTES)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _invalid() -> ApiError:
    """Not a token of ours, not for this request, or from before the keys were changed."""
    return _refused("invalid_stream_token", "the stream token is not good for the events of this request")


def _refused(code: str, what: str) -> ApiError:
    message = f"{what}: POST /v1/requests/{{id}}/stream-token gives a new one to who has the API key"
    error = ErrorInfo(type="authentication_error", code=code, message=message, param="token")
    return ApiError(401, error, headers={"WWW-Authenticate": "Bearer"})


async def authenticate(request: Request, presented: PresentedKey) -> Caller:
    """Return the caller of a request; 401 without a key that is known."""
    callers: Callers = request.app.state.services.callers
    caller = await callers.caller(presented)
    request.state.tenant = caller.tenant
    return caller


async def _sender(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    caller.check_scope("chat")
    return caller


async def _reader(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    caller.check_scope("read")
    return caller


async def of_a_tenant(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """Return a caller who may send requests, or read them."""
    caller.check_scope("chat", "read")
    return caller


async def _admin(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    caller.check_scope("admin")
    return caller


#: Who may send requests, and cancel them; who may read what has become of them; who may change Headrace.
SenderDep = Annotated[Caller, Depends(_sender)]
ReaderDep = Annotated[Caller, Depends(_reader)]
AdminDep = Annotated[Caller, Depends(_admin)]


async def _follower(
    request: Request,
    request_id: str,
    presented: PresentedKey,
    token: Annotated[
        str | None, Query(description="a stream token, for browsers' `EventSource`, instead of a key")
    ] = None,
) -> Caller:
    """Return the reader of a request's events: by key, or by a stream token for that request; 401 without."""
    if token is None or presented is not None:
        return await _reader(await authenticate(request, presented))
    tokens: StreamTokens = request.app.state.services.stream_tokens
    request.state.tenant = tokens.tenant_of(token, request_id)
    return Caller(request.state.tenant, tier="")  # it submits nothing, so that no limit needs the tier


FollowerDep = Annotated[Caller, Depends(_follower)]
