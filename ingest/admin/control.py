"""Routes that change Headrace while it runs: control records, and API keys. They need the scope `admin`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta, Struct
from starlette.responses import Response

from ingest.auth import AdminDep
from ingest.openapi import body_of
from ingest.services import Services, ServicesDep
from ingest.submit.http_message import decode_body, read_body
from streams.control.specs import KINDS, ControlId, KeySpec, Scope, TierName
from streams.control.writer import Changes
from streams.events import Name
from streams.serving.api_keys import Caller, digest_of_key, new_key
from streams.serving.fastapi_errors import errors
from streams.serving.responses import JsonResponse, not_found

router = APIRouter(prefix="/v1/admin", tags=["admin"])

_MAX_BODY_BYTES = 1024 * 1024
Reason = Annotated[str, Meta(max_length=1_000)]


class ChangeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a record is to say, and which version that replaces (0: none): another one is a 400."""

    spec: dict[str, Any]
    reason: Reason = ""
    version: Annotated[int, Meta(ge=0)] | None = None


class ReasonBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why something is taken away, or taken back."""

    reason: Reason = ""


class KeyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose key it is, and what it opens."""

    tenant: Name
    tier: TierName = "standard"
    user: Name | None = None
    scopes: tuple[Scope, ...] = ("chat", "read")
    expires_at: datetime | None = None
    reason: Reason = ""


@router.get("/control")
async def list_records(admin: AdminDep, services: ServicesDep, kind: str | None = None) -> Response:
    """List the records that hold, by kind and name. Those that come with Headrace have version 0."""
    del admin
    async with services.open_control() as writer:
        state = await writer.state()
    found = [each for each in state.listed() if kind in (None, each["kind"])]
    return JsonResponse({"kinds": list(KINDS), "records": found})


@router.get("/control/{kind}/{name:path}", responses=errors(404))
async def get_record(admin: AdminDep, services: ServicesDep, kind: str, name: str) -> Response:
    """Return a record as it holds, and every version that it has had, the oldest first."""
    del admin
    of = ControlId(kind, name)
    async with services.open_control() as writer:
        holds, versions = await writer.look(of)
    if not versions and holds is None:
        raise not_found(f"there is no record {of}", code="record_not_found", param="name")
    return JsonResponse({"record": holds, "history": versions})


@router.put("/control/{kind}/{name:path}", openapi_extra=body_of(ChangeBody))
async def set_record(
    request: Request, admin: AdminDep, services: ServicesDep, kind: str, name: str
) -> Response:
    """Set a record. It is live in every process within two seconds."""
    body = decode_body(await read_body(request, max_bytes=_MAX_BODY_BYTES), ChangeBody)
    of = ControlId(kind, name)
    expected = {} if body.version is None else {of: body.version}
    return await _changed(services, {of: body.spec}, admin, body.reason, expected)


@router.delete("/control/{kind}/{name:path}")
async def remove_record(
    admin: AdminDep, services: ServicesDep, kind: str, name: str, reason: str = ""
) -> Response:
    """Take a record away. Its versions stay."""
    return await _changed(services, {ControlId(kind, name): None}, admin, reason)


@router.post("/rollback/{kind}/{name:path}", openapi_extra=body_of(ReasonBody))
async def roll_back(
    request: Request, admin: AdminDep, services: ServicesDep, kind: str, name: str
) -> Response:
    """Say again what the version before the last one said."""
    data = await read_body(request, max_bytes=_MAX_BODY_BYTES)
    body = decode_body(data, ReasonBody) if data else ReasonBody()
    async with services.open_control() as writer:
        new = await writer.roll_back(ControlId(kind, name), author=_author(admin), reason=body.reason)
    return JsonResponse({"changed": new})


@router.post("/keys", status_code=201, openapi_extra=body_of(KeyBody))
async def create_key(request: Request, admin: AdminDep, services: ServicesDep) -> Response:
    """Make an API key. The answer is the only place where it is ever shown."""
    body = decode_body(await read_body(request, max_bytes=_MAX_BODY_BYTES), KeyBody)
    key_id, key = new_key()
    spec = KeySpec(
        sha256=digest_of_key(key),
        tenant=body.tenant,
        tier=body.tier,
        user=body.user,
        scopes=body.scopes,
        expires_at=body.expires_at,
    )
    changes = {ControlId("key", key_id): msgspec.to_builtins(spec)}
    async with services.open_control() as writer:
        await writer.change(changes, author=_author(admin), reason=body.reason)
    return JsonResponse({"id": key_id, "key": key}, status_code=201, headers={"Cache-Control": "no-store"})


async def _changed(
    services: Services,
    changes: Changes,
    admin: Caller,
    reason: str,
    expected: Mapping[ControlId, int] | None = None,
) -> Response:
    async with services.open_control() as writer:
        new = await writer.change(changes, author=_author(admin), reason=reason, expected=expected)
    return JsonResponse({"changed": new})


def _author(admin: Caller) -> str:
    return admin.key or (f"{admin.tenant}/{admin.user}" if admin.user else "HEADRACE_ADMIN_KEY")
