"""The OpenAPI document tells what comes."""

from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI

from analytics.api.health import metrics_registry, metrics_router
from tests.analytics.api.analysts import ACME, NUMBERS, app_of, catalogue_of, client_of
from tests.analytics.api.test_queries import NotedReader

OF_THE_PROTOCOL = {"400", "408", "414", "431", "503"}


@pytest.fixture
def app(tmp_path: Any) -> FastAPI:
    """The analysts' routes and the numbers."""
    app = app_of(catalogue_of(tmp_path, numbers=NUMBERS), NotedReader())
    app.include_router(metrics_router(metrics_registry()))
    return app


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/v1/analytics/queries", "/v1/analytics/queries", 200),
        ("/v1/analytics/queries/{name}", "/v1/analytics/queries/numbers", 200),
        ("/v1/analytics/queries/{name}", "/v1/analytics/queries/none", 404),
        ("/v1/analytics/queries/{name}/rows", "/v1/analytics/queries/none/rows", 404),
        ("/v1/analytics/queries/numbers/rows", "/v1/analytics/queries/numbers/rows?tenant=globex", 403),
        ("/v1/analytics/queries/numbers/rows", "/v1/analytics/queries/numbers/rows?limit=0", 400),
        ("/health", "/health", 200),
        ("/ready", "/ready", 503),
        ("/metrics", "/metrics", 200),
    ],
)
async def test_a_response_has_a_status_a_type_and_a_schema_of_the_document(
    app: FastAPI, path: str, sent: str, status: int
) -> None:
    """With a key; without one, 401 where the operation needs it, and nowhere else."""
    document = app.openapi()
    responses = document["paths"][path]["get"]["responses"]
    async with client_of(app, ACME) as client, client_of(app, None) as stranger:
        response, refused = await client.get(sent), await stranger.get(sent)
    assert response.status_code == status
    for each in (response, refused):
        content = responses[str(each.status_code)]["content"]
        schema = content[each.headers["content-type"].partition(";")[0]].get("schema", {})
        if each.headers["content-type"] == "application/json":
            jsonschema.Draft202012Validator({**document, **schema}).validate(each.json())
        assert each.headers["x-request-id"]
    assert ("401" in responses) == (refused.status_code == 401)


async def test_the_numbers_are_text(app: FastAPI) -> None:
    """In the version of Prometheus' format that the type names."""
    content = app.openapi()["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/plain"]
    async with client_of(app, None) as client:
        assert (await client.get("/metrics")).headers["content-type"].startswith("text/plain; version=0.0.4")


def test_an_operation_claims_no_more_than_it_can_answer(app: FastAPI) -> None:
    """The probes have no key and no body; no route has the framework's 422."""
    paths = app.openapi()["paths"]
    assert set(paths["/health"]["get"]["responses"]) == {"200", *OF_THE_PROTOCOL}
    assert set(paths["/v1/analytics/queries"]["get"]["responses"]) == {"200", "401", "403", *OF_THE_PROTOCOL}
    assert not any("422" in each["get"]["responses"] for each in paths.values())
