"""Which request a submission is: its id, from an `Idempotency-Key` or from an SDK's count of its retries."""

import uuid
from collections.abc import Mapping

import msgspec

from ingest.errors import ApiError, conflict, invalid, outage
from ingest.ports import Runs, SdkCalls
from ingest.submit.client_retries import RETRY_COUNT_HEADER, SdkCall
from ingest.submit.headers import header_text
from streams.errors import StoreUnavailable
from streams.events import Requested
from streams.registry.registry import fingerprint

MAX_IDEMPOTENCY_KEY_CHARS = 255

#: Name request ids that come from idempotency keys (RFC 9562, version 5): of first runs, and of later ones.
#: Never change them: the same key must give the same id after every upgrade.
_FIRST_RUNS = uuid.UUID("6f9f1c0e-6c3b-5d1e-9d1a-4a1d2f0c7b55")
_LATER_RUNS = uuid.UUID("d7a0a4d2-52c1-5b0a-9a51-6b8f3e0c4f17")
#: No `Idempotency-Key` can be one of these: a header has no line end.
_SDK_KEY = "sdk\n"


class Identity(msgspec.Struct, frozen=True):
    """The id of the request that a submission is, its `fingerprint`, and the SDK's call if there is one."""

    request_id: str
    body: str
    call: SdkCall | None = None


class Identification:
    """Finds out which request a submission is.

    Args:
        runs: the newest run of each key.
        calls: the open calls of SDKs.
    """

    def __init__(self, runs: Runs, calls: SdkCalls) -> None:
        self._runs = runs
        self._calls = calls

    async def identify(
        self, headers: Mapping[str, str], request: Requested, *, tenant: str, deadline_ms: int
    ) -> Identity:
        """Return which request a submission is: a new one, or one that was sent before.

        Args:
            headers: of the HTTP request.
            request: what is asked.
            tenant: who asks.
            deadline_ms: how long the answer may take.

        Raises:
            ApiError: 400, the key is no key; 409, it stands for another body; 503, Redis does not answer.
        """
        key, body = idempotency_key(headers), fingerprint(request, tenant)
        retries = None if key is not None else _retries(headers)
        if key is None and retries is None:
            return Identity(request_id_for(tenant, None), body)
        try:
            if key is not None:
                return Identity(await self._newest(tenant, key, body), body)
            call = await self._calls.call_of(
                tenant=tenant, body=body, retries=retries or 0, deadline_ms=deadline_ms
            )
            if not call.is_retry:
                return Identity(request_id_for(tenant, _SDK_KEY + call.key), body, call)
            return Identity(await self._newest(tenant, _SDK_KEY + call.key, body), body, call)
        except StoreUnavailable as fault:
            raise outage(fault, "the request registry") from fault

    async def _newest(self, tenant: str, key: str, body: str) -> str:
        found = await self._runs.newest(lambda run: request_id_for(tenant, key, run=run), body=body)
        if found is None:
            raise other_body()
        return found


def other_body() -> ApiError:
    """Return the 409 for a key that was used before, for something else."""
    return conflict(
        "this Idempotency-Key was used for another body: use a new key for a new request",
        param="Idempotency-Key",
    )


def request_id_for(tenant: str, idempotency_key: str | None, *, run: int = 1) -> str:
    """Return the id of a request: the same for the same run of a tenant's key; without a key a new one."""
    if idempotency_key is None:
        return str(uuid.uuid4())
    name = f"{len(tenant)}:{tenant}:{idempotency_key}"
    return str(uuid.uuid5(_FIRST_RUNS, name) if run == 1 else uuid.uuid5(_LATER_RUNS, f"{run}:{name}"))


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Return the `Idempotency-Key`.

    Raises:
        ApiError: 400, it is empty, or longer than `MAX_IDEMPOTENCY_KEY_CHARS`.
    """
    key = header_text(headers, "Idempotency-Key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS:
        raise invalid(
            f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters", param="Idempotency-Key"
        )
    return key


def _retries(headers: Mapping[str, str]) -> int | None:
    """Return how many attempts an SDK says that it made before; None where it says nothing of the kind."""
    text = headers.get(RETRY_COUNT_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else None
