"""The OpenAPI document tells what comes: each operation is brought to every error that it can end in."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from ingest.batches.batch import line_request_id
from ingest.main import create_app
from streams.events import Status
from streams.serving.fastapi_errors import Document
from tests.ingest.batches.test_lines import jsonl, line
from tests.ingest.fakes import ADMIN_KEY, KEY, MODEL, Entry, Rig, answered, failed, limited, rig

MESSAGES = [{"role": "user", "content": "capital of France?"}]
COMPLETION: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}
NATIVE: dict[str, Any] = {"query": "capital of France?", "user_id": "ada", "model": MODEL}
ASKING: dict[str, dict[str, Any]] = {
    "/v1/chat": NATIVE,
    "/v1/chat/completions": COMPLETION,
    "/api/v1/chat/completions": COMPLETION,
    "/api/v1/chat/completions/stream": COMPLETION,
    "/v1/messages": {**COMPLETION, "max_tokens": 100},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "lye"},
}
BODIES = {
    **ASKING,
    "/v1/requests": NATIVE,
    "/v1/feedback": {"request_id": "r-unknown", "label": "up"},
    "/v1/admin/keys": {"tenant": "acme"},
    "/v1/admin/control/limit/unknown": {"spec": {}},
}
#: What the protocol answers for every route: tests/streams/serving brings it about.
OF_THE_PROTOCOL = {400, 408, 414, 431, 503}

Operation = tuple[str, str]


def operations(document: Document) -> Iterator[Operation]:
    return ((method.upper(), path) for path, each in document["paths"].items() for method in each)


def is_admins(operation: Operation) -> bool:
    return operation[1].startswith("/v1/admin/")


def responses_of(document: Document, operation: Operation) -> dict[str, Any]:
    method, path = operation
    responses: dict[str, Any] = document["paths"][path][method.lower()]["responses"]
    return responses


def documented_errors(document: Document, operation: Operation) -> set[int]:
    return {int(status) for status in responses_of(document, operation) if int(status) >= 400}


@asynccontextmanager
async def asked(wired: Rig, operation: Operation, key: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key that opens the operation, unless it is given another."""
    key = key or (ADMIN_KEY if is_admins(operation) else KEY)
    transport = httpx.ASGITransport(create_app(wired.services), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as client:
        yield client


async def send(client: httpx.AsyncClient, operation: Operation, **changed: Any) -> httpx.Response:
    """Send a good request for something that is not there, unless `changed` says otherwise."""
    method, path = operation
    for name in ("request_id", "batch_id", "model_id", "name"):
        path = path.replace(f"{{{name}}}", changed.pop(name, "unknown"))
    path = path.replace("{kind}", "limit")
    given: dict[str, Any] = {}
    if path == "/v1/batches":
        given["content"] = jsonl(line("a"))
    elif path in BODIES and method in ("POST", "PUT"):
        given["json"] = BODIES[path]
    return await client.request(method, path, **(given | changed))


async def _without_a_key(operation: Operation) -> httpx.Response:
    async with asked(rig(), operation, "nobody's") as client:
        return await send(client, operation)


async def _without_the_scope(operation: Operation) -> httpx.Response:
    async with asked(rig(), operation, KEY if is_admins(operation) else ADMIN_KEY) as client:
        return await send(client, operation)


async def _too_large(operation: Operation) -> httpx.Response:
    async with asked(rig(), operation) as client:
        return await send(client, operation, content=b"", headers={"Content-Length": "999999999999"})


async def _compressed_otherwise(operation: Operation) -> httpx.Response:
    async with asked(rig(), operation) as client:
        return await send(client, operation, content=b"", headers={"Content-Encoding": "br"})


async def _not_there(operation: Operation) -> httpx.Response:
    async with asked(rig(), operation) as client:
        changed: dict[str, Any] = {}
        if operation[1] in {*ASKING, "/v1/requests"}:
            changed["json"] = {**BODIES[operation[1]], "model": "nope"}
        return await send(client, operation, **changed)


async def _failed(operation: Operation, kind: str, code: str) -> httpx.Response:
    wired = rig()
    wired.pipeline.replies_with(failed(kind, code))
    async with asked(wired, operation) as client:
        return await send(client, operation)


async def _over_a_limit(operation: Operation) -> httpx.Response:
    wired = rig()
    limited(wired, per_tenant={"requests_per_minute": 1})
    async with asked(wired, operation) as client:
        if not is_admins(operation):
            await client.post("/v1/requests", json=NATIVE)
        return await send(client, operation)


async def _again_with_another_body(operation: Operation) -> httpx.Response:
    wired = rig()
    again = {"headers": {"Idempotency-Key": "order-7"}}
    async with asked(wired, operation) as client:
        if not is_admins(operation):
            await client.post("/v1/requests", json={**NATIVE, "query": "another"}, **again)
            await client.post("/v1/batches", content=jsonl(line("b")), **again)
        return await send(client, operation, **again)


async def _in_the_wrong_state(operation: Operation) -> httpx.Response:
    """Something is there: a request that has ended, a batch that has too, or whose lines have not."""
    wired = rig()
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    wired.registry.settle(answered("r-1"))
    wired.pipeline.replies_with(answered())
    async with asked(wired, operation) as client:
        if is_admins(operation):
            return await send(client, operation)
        batch_id = (await client.post("/v1/batches", content=jsonl(line("a")))).json()["id"]
        if operation[1].endswith("/cancel"):
            (batch,) = wired.batches.records.values()
            for name in batch.names:
                reply = msgspec.structs.replace(answered(), status=Status.ANSWERED)
                wired.registry.settle(msgspec.structs.replace(reply, request_id=line_request_id(batch, name)))
        return await send(client, operation, request_id="r-1", batch_id=batch_id)


async def _bring_about(operation: Operation) -> list[httpx.Response]:
    """The responses to everything that may go wrong."""
    found = [
        await _without_a_key(operation),
        await _without_the_scope(operation),
        await _too_large(operation),
        await _compressed_otherwise(operation),
        await _not_there(operation),
        await _over_a_limit(operation),
        await _again_with_another_body(operation),
        await _in_the_wrong_state(operation),
    ]
    if operation[1] in ASKING:
        found += [
            await _failed(operation, "rate_limit_error", "provider_rate_limited"),
            await _failed(operation, "api_error", "internal_error"),
            await _failed(operation, "timeout_error", "deadline_exceeded"),
            await _failed(operation, "unavailable_error", "service_unavailable"),
            await _failed(operation, "invalid_request_error", "request_cancelled"),
        ]
    return found


def _document() -> Document:
    return create_app(rig().services).openapi()


@pytest.mark.parametrize("operation", list(operations(_document())), ids=" ".join)
async def test_an_operation_has_the_errors_that_it_can_end_in(operation: Operation) -> None:
    """Those and no other, each with the schema that it has."""
    document = _document()
    seen = {response.status_code: response for response in await _bring_about(operation)}
    errors = {status for status in seen if status >= 400}
    assert errors | OF_THE_PROTOCOL == documented_errors(document, operation)
    for status in errors:
        schema = responses_of(document, operation)[str(status)]["content"]["application/json"]["schema"]
        check(seen[status].json(), schema, document)


@pytest.mark.parametrize("operation", list(operations(_document())), ids=" ".join)
async def test_a_response_has_a_status_and_a_type_of_the_document(operation: Operation) -> None:
    """Whatever happens, and an id."""
    document = _document()
    for response in await _bring_about(operation):
        described = responses_of(document, operation)[str(response.status_code)]
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in described["content"]
        assert set(described["headers"]) >= {"X-Request-ID"}
        assert response.headers["X-Request-ID"]


def check(body: Any, schema: dict[str, Any], document: Document) -> None:
    """Check a body by a schema of the document."""
    jsonschema.Draft202012Validator({**document, **schema}).validate(body)


def test_nothing_of_the_framework_is_left_in_the_document() -> None:
    """Its 422 never comes."""
    document = _document()
    assert not any("422" in responses_of(document, each) for each in operations(document))
    assert not any("Validation" in name for name in document["components"]["schemas"])
