"""`/v1/analytics/queries`: the catalogue, its documentation and its answers, with faults as error objects."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from analytics.api.dependencies import QueryServiceDep, TenantScopeDep
from analytics.reports.query import FORMATS, INSTANT, JSON, Query, UnknownQuery, chosen_format
from analytics.reports.query_service import PreparedQuery, QueryService, TenantNotAllowed, TooManyQueries
from analytics.reports.reader import QueryFault, Reason
from streams.errors import ClickHouseUnavailable, InputError
from streams.events import ErrorInfo
from streams.serving.fastapi_errors import errors
from streams.serving.responses import (
    NO_RETRY,
    ApiError,
    JsonResponse,
    invalid,
    not_found,
    outage,
    to_json,
    unavailable,
)
from streams.tasks import run_unless, until_disconnect

log = structlog.get_logger(__name__)

#: How long a client may take to fetch a result. It holds a slot meanwhile.
_FETCH_TIMEOUT_S: Final = 120.0
#: Smaller pieces wait for the next one, so that a small result is one write.
_PIECE_BYTES: Final = 64 * 1024

#: Media types of results, besides JSON.
OTHER_TYPES: Final[dict[str, Any]] = {
    each.media_type.partition(";")[0]: {} for each in FORMATS.values() if each.name != "json"
}
#: What a question to ClickHouse may end in.
QUERY_ERRORS: Final = (429, 500, 504)
ROWS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The rows", "content": OTHER_TYPES},
    **errors(403, 404, 406, *QUERY_ERRORS),
}

router = APIRouter(prefix="/v1/analytics/queries", tags=["analytics"])


@router.get("")
async def queries(service: QueryServiceDep, scope: TenantScopeDep) -> Response:
    """List the queries, with their documentation."""
    del scope  # any key will do
    return JsonResponse({"queries": [_described(query) for query in service.catalogue]})


@router.get("/{name}", responses=errors(404))
async def query(name: str, service: QueryServiceDep, scope: TenantScopeDep) -> Response:
    """Return the documentation of a query, and its SQL."""
    del scope
    with faults_as_errors(name):
        found = service.catalogue.get(name)
    return JsonResponse({**_described(found), "sql": found.sql})


@router.get("/{name}/rows", responses=ROWS)
async def rows(name: str, request: Request, service: QueryServiceDep, scope: TenantScopeDep) -> Response:
    """Ask a query, and return its rows as JSON, CSV or an Arrow stream.

    Its parameters are in its documentation. A tenant's key sees the tenant's own rows only.
    """
    given = _given(request)
    with faults_as_errors(name):
        service.catalogue.get(name)  # an unknown query goes before what is wrong with its parameters
        output = chosen_format(given.pop("format", None), request.headers.get("accept", ""))
        prepared = service.prepare(name, given, scope, output)
    return RowsResponse(service, prepared)


def _given(request: Request) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise invalid(f"the parameter {name[:64]} is there twice", param=name[:64])
        given[name] = value
    return given


def _described(query: Query) -> dict[str, Any]:
    return {
        "name": query.name,
        "title": query.title,
        "group": query.group,
        "description": query.description,
        "parameters": query.parameters,
        "columns": query.columns,
        "url": f"/v1/analytics/queries/{query.name}/rows",
    }


class RowsResponse(Response):
    """Runs a query and sends the rows. A client that disconnects cancels the query.

    A fault before the first byte is an `ApiError`; after it, the connection is closed without the end of the
    body, which the client sees.
    """

    def __init__(self, service: QueryService, prepared: PreparedQuery) -> None:
        super().__init__(media_type=prepared.output.media_type, headers=_headers(prepared))
        del self.headers["content-length"]  # that of an empty body
        self._service = service
        self._prepared = prepared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request. It raises `ClientDisconnect` where the client has left, or is too slow."""
        del scope
        if await run_unless(until_disconnect(receive), self._serve(send)) is None:
            log.info("analysts.client_left", query=self._prepared.query.name)
            raise ClientDisconnect

    async def _serve(self, send: Send) -> None:
        with faults_as_errors(self._prepared.query.name):
            async with self._service.ask(self._prepared) as result:
                await self._send_rows(result.pieces(), send)

    async def _send_rows(self, pieces: AsyncIterator[bytes], send: Send) -> None:
        """Send the response, from when there is a first piece of it: until then a fault can have a status."""
        held, after = _frame(self._prepared)
        started = False
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                async for piece in pieces:
                    if len(held) > _PIECE_BYTES:
                        await self._send_piece(send, held, first=not started, more=True)
                        started, held = True, b""
                    held += piece
                await self._send_piece(send, held + after, first=not started, more=False)
        except TimeoutError:
            log.info("analysts.client_too_slow", query=self._prepared.query.name)
            raise ClientDisconnect from None

    async def _send_piece(self, send: Send, body: bytes, *, first: bool, more: bool) -> None:
        if first:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": body, "more_body": more})


def _headers(prepared: PreparedQuery) -> dict[str, str]:
    headers = {"Cache-Control": "private, no-store"}
    if prepared.output is not JSON:
        file = f"{prepared.query.name}.{prepared.output.name}"
        headers["Content-Disposition"] = f'attachment; filename="{file}"'
    return headers


def _frame(prepared: PreparedQuery) -> tuple[bytes, bytes]:
    """Return what stands before and after the rows: in JSON, the query, its parameters and its columns."""
    if prepared.output is not JSON:
        return b"", b""
    head = to_json({
        "query": prepared.query.name,
        "parameters": _shown(prepared),
        "columns": prepared.query.columns,
    })  # fmt: skip
    return head.removesuffix(b"}") + b',"rows":', b"}"


def _shown(prepared: PreparedQuery) -> Mapping[str, Any]:
    """Return the parameters as they count: times in RFC 3339, and no tables of prices."""
    shown: dict[str, Any] = {}
    for parameter in prepared.query.parameters:
        value = prepared.parameters[parameter.name]
        if parameter.type == INSTANT:
            shown[parameter.name] = f"{str(value).replace(' ', 'T')}Z"
        elif isinstance(value, str | int | float):
            shown[parameter.name] = value
    return shown


_NARROW = "ask for less: a shorter time between since and until, a lower limit, or one tenant"
_BUSY_RETRY_S = 5.0

_TOO_LARGE: Final = {
    Reason.RESULT_TOO_LARGE: ("result_too_large", "the result is larger than one answer may be"),
    Reason.TOO_MUCH_MEMORY: ("query_too_large", "the query looks at more than one query may"),
}
_NOT_NOW: Final = {
    Reason.BUSY: ("overloaded", "ClickHouse is busy; try again in a moment"),
    Reason.NOT_READY: ("service_unavailable", "the tables are not there yet; try again in a moment"),
    Reason.MISCONFIGURED: (
        "reader_not_available",
        "there is no ClickHouse user who can only read; the log of `headrace analytics` says what is missing",
    ),
}


@contextmanager
def faults_as_errors(query: str) -> Iterator[None]:
    """Turn what a query may raise into `ApiError`; `query` is its name, for the log."""
    try:
        yield
    except UnknownQuery as fault:
        raise not_found(fault.message, code=fault.code, param=fault.param) from fault
    except TenantNotAllowed as fault:
        error = ErrorInfo(type="permission_error", code=fault.code, message=fault.message, param=fault.param)
        raise ApiError(403, error) from fault
    except InputError as fault:
        status = 406 if fault.code == "not_acceptable" else 400
        raise invalid(fault.message, code=fault.code, param=fault.param, status=status) from fault
    except TooManyQueries as fault:
        raise _crowded(fault) from fault
    except ClickHouseUnavailable as fault:
        log.warning("analysts.unavailable", query=query, error=str(fault))
        raise outage(fault, "ClickHouse") from fault
    except QueryFault as fault:
        raise _failed(query, fault) from fault


def _crowded(fault: TooManyQueries) -> ApiError:
    if not fault.own:
        return unavailable(str(fault), code="overloaded", retry_after_s=fault.retry_after_s)
    error = ErrorInfo(type="rate_limit_error", code="too_many_queries", message=str(fault))
    return ApiError(429, error, headers={"Retry-After": str(round(fault.retry_after_s))})


def _failed(query: str, fault: QueryFault) -> ApiError:
    """Return the error of a query that ClickHouse did not answer. ClickHouse's message is logged only."""
    reason = fault.reason
    log.warning("analysts.query_failed", query=query, reason=reason, error=str(fault))
    if reason is Reason.TOO_SLOW:
        message = f"the query takes longer than one may: {_NARROW}"
        error = ErrorInfo(type="timeout_error", code="query_timeout", message=message, param="since")
        return ApiError(504, error, headers=NO_RETRY)
    if reason in _TOO_LARGE:
        code, what = _TOO_LARGE[reason]
        return invalid(f"{what}: {_NARROW}", code=code, param="since")
    if reason is Reason.WRONG_PARAMETER:
        return invalid("a parameter's value does not have its type; the query's documentation has the types")
    if reason in _NOT_NOW:
        code, what = _NOT_NOW[reason]
        return unavailable(what, code=code, retry_after_s=_BUSY_RETRY_S)
    message = f"the query {query} failed; the log of `headrace analytics` has the reason"
    return ApiError(500, ErrorInfo(type="api_error", code="query_failed", message=message))
