"""Which request a submission is: its id, from an `Idempotency-Key` or from an SDK's count of its retries."""

import uuid
from collections.abc import Mapping

from ingest.errors import conflict
from ingest.submit.client_retries import ClientRetries, SdkCall
from ingest.submit.headers import idempotency_key, sdk_retry_count
from streams.events import Requested
from streams.registry.registry import fingerprint
from streams.registry.runs import RequestRuns
from streams.serving.errors import ApiError

#: Namespaces of the request ids that come from keys (RFC 9562, version 5), for first and for later runs.
#: Never change them: the same key must give the same id after every upgrade.
_FIRST_RUNS = uuid.UUID("6f9f1c0e-6c3b-5d1e-9d1a-4a1d2f0c7b55")
_LATER_RUNS = uuid.UUID("d7a0a4d2-52c1-5b0a-9a51-6b8f3e0c4f17")
#: Begins the keys that are made for SDK calls. No `Idempotency-Key` can: a header has no line end.
_SDK_KEY = "sdk\n"


async def identify(
    headers: Mapping[str, str],
    request: Requested,
    *,
    tenant: str,
    deadline_ms: int,
    runs: RequestRuns,
    calls: ClientRetries,
) -> tuple[str, str, SdkCall | None]:
    """Return which request a submission is, new or sent before; 409 for a key of another body.

    That is its id, the `fingerprint` of what it asks, and the SDK's call that it belongs to, if any.
    """
    key, call, body = idempotency_key(headers), None, fingerprint(request, tenant)
    if key is None:
        retries = sdk_retry_count(headers)
        if retries is None:
            return request_id_for(tenant, None), body, None
        call = await calls.call_of(tenant=tenant, body=body, retries=retries, deadline_ms=deadline_ms)
        key = _SDK_KEY + call.key
        if not call.is_retry:
            return request_id_for(tenant, key), body, call
    found = await runs.newest(lambda run: request_id_for(tenant, key, run=run), body=body)
    if found is None:
        raise key_of_another_body()
    return found, body, call


def key_of_another_body() -> ApiError:
    """Return the 409 for a key that was used before, for another body."""
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
