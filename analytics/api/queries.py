"""`/v1/analytics/queries`: the catalogue, its documentation, and its answers."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from analytics.api.answering import faults_as_errors
from analytics.api.asking import QueryServiceDep, TenantScopeDep
from analytics.api.openapi import ROWS
from analytics.api.rows_response import RowsResponse
from analytics.reports.catalogue import Query
from analytics.reports.result_formats import chosen_format
from streams.serving.errors import invalid
from streams.serving.json_response import JsonResponse
from streams.serving.openapi import errors

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
        service.catalogue.get(
            name
        )  # that there is no such query goes before what is wrong with its parameters
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
