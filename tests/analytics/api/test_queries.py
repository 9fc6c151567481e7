"""The analysts' routes: keys, documentation, and what is refused before ClickHouse is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from analytics.reports.catalogue import Catalogue
from analytics.reports.query_service import QuerySlots
from analytics.reports.reader import QueryFault, QueryResult, ReaderQuery, Reason
from streams.errors import ClickHouseUnavailable
from tests.analytics.api.analysts import ACME, ADMIN, NUMBERS, app_of, catalogue_of, client_of

ROWS = "/v1/analytics/queries/numbers/rows"


class Fixed:
    """An answer that is known."""

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self._pieces = pieces

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class NotedReader:
    """Answers every question alike, or fails, and remembers what it was asked."""

    def __init__(self, *pieces: bytes, fault: Exception | None = None) -> None:
        self._pieces = pieces or (b"[]",)
        self._fault = fault
        self.asked: list[ReaderQuery] = []

    @asynccontextmanager
    async def ask(self, question: ReaderQuery) -> AsyncIterator[QueryResult]:
        self.asked.append(question)
        if self._fault is not None:
            raise self._fault
        yield Fixed(self._pieces)

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """One query."""
    return catalogue_of(tmp_path, numbers=NUMBERS)


def error_of(response: httpx.Response) -> tuple[int, str, str, str | None]:
    """Status, type, code and param of an error; its id is the response's."""
    error = response.json()["error"]
    assert error["request_id"] == response.headers["X-Request-ID"]
    return response.status_code, error["type"], error["code"], error["param"]


@pytest.mark.parametrize("path", ["", "/numbers", "/numbers/rows", "/nope"])
@pytest.mark.parametrize("key", [None, "wrong", "k-acm", "k-acmee"])
async def test_a_key_is_needed(catalogue: Catalogue, path: str, key: str | None) -> None:
    """On every route, and before anything is said about the query."""
    reader = NotedReader()
    async with client_of(app_of(catalogue, reader), key) as client:
        response = await client.get(f"/v1/analytics/queries{path}")
    assert error_of(response) == (401, "authentication_error", "invalid_api_key", None)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not reader.asked


async def test_either_header_carries_the_key(catalogue: Catalogue) -> None:
    """As at ingest."""
    async with client_of(app_of(catalogue), None) as client:
        found = await client.get("/v1/analytics/queries", headers={"X-API-Key": ACME})
    assert found.status_code == 200


async def test_the_list_documents_every_query() -> None:
    """Of the real catalogue: names, parameters with types and defaults, columns with units."""
    catalogue = Catalogue.load()
    async with client_of(app_of(catalogue)) as client:
        listed = (await client.get("/v1/analytics/queries")).json()["queries"]
        assert [each["name"] for each in listed] == catalogue.names()
        for each in listed:
            assert each["title"]
            assert each["description"]
            assert [parameter["name"] for parameter in each["parameters"]][:3] == ["since", "until", "tenant"]
            assert all(set(column) == {"name", "unit", "doc"} for column in each["columns"])
        one = (await client.get(f"/v1/analytics/queries/{catalogue.names()[0]}")).json()
    assert one.pop("sql") == catalogue.get(catalogue.names()[0]).sql
    assert one == listed[0]


@pytest.mark.parametrize("path", ["/number", "/number/rows", "/number/rows?format=xlsx&nope=1"])
async def test_an_unknown_query_is_named_with_those_near_it(catalogue: Catalogue, path: str) -> None:
    """Whatever else is wrong."""
    async with client_of(app_of(catalogue)) as client:
        response = await client.get(f"/v1/analytics/queries{path}")
    assert error_of(response) == (404, "invalid_request_error", "unknown_query", "name")
    assert "numbers" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("nope=1", "invalid_request", "nope"),
        ("limit=many", "invalid_request", "limit"),
        ("limit=0", "invalid_request", "limit"),
        ("limit=1000001", "invalid_request", "limit"),
        ("since=yesterday", "invalid_request", "since"),
        ("since=1d&until=2d", "invalid_request", "since"),
        ("limit=1&limit=2", "invalid_request", "limit"),
        ("format=xlsx", "unknown_format", "format"),
        ("sql=SELECT+1", "invalid_request", "sql"),
    ],
)
async def test_wrong_parameters_are_named(catalogue: Catalogue, query: str, code: str, param: str) -> None:
    """And ClickHouse is not asked."""
    reader = NotedReader()
    async with client_of(app_of(catalogue, reader)) as client:
        response = await client.get(f"{ROWS}?{query}")
    assert error_of(response) == (400, "invalid_request_error", code, param)
    assert not reader.asked


async def test_a_type_that_is_not_available_is_406(catalogue: Catalogue) -> None:
    """The message says which are."""
    async with client_of(app_of(catalogue, NotedReader())) as client:
        response = await client.get(ROWS, headers={"Accept": "application/xml"})
    assert error_of(response)[::2] == (406, "not_acceptable")
    assert "text/csv" in response.json()["error"]["message"]


async def test_the_tenant_is_the_keys(catalogue: Catalogue) -> None:
    """It reaches the query as a value and ClickHouse as a filter; another one is refused."""
    reader = NotedReader()
    async with client_of(app_of(catalogue, reader)) as client:
        for query in ("", "?tenant=", "?tenant=acme"):
            answer = (await client.get(ROWS + query)).json()
            assert answer["parameters"]["tenant"] == "acme"
        refused = await client.get(f"{ROWS}?tenant=globex")
    assert error_of(refused) == (403, "permission_error", "tenant_not_allowed", "tenant")
    assert [(each.tenant, each.parameters["tenant"]) for each in reader.asked] == [("acme", "acme")] * 3


async def test_the_admin_sees_all_or_the_one_it_names(catalogue: Catalogue) -> None:
    """Only without a tenant is nothing filtered."""
    reader = NotedReader()
    async with client_of(app_of(catalogue, reader), ADMIN) as client:
        for query in ("", "?tenant=globex"):
            assert (await client.get(ROWS + query)).status_code == 200
    assert [(each.tenant, each.parameters["tenant"]) for each in reader.asked] == [
        ("", ""),
        ("globex", "globex"),
    ]


async def test_the_sql_is_the_files_and_never_the_callers(catalogue: Catalogue) -> None:
    """Whatever the caller sends, the statement is the same text."""
    reader = NotedReader()
    hostile = "'; DROP TABLE requests_raw; --"
    async with client_of(app_of(catalogue, reader)) as client:
        answer = await client.get(ROWS, params={"text": hostile, "limit": "7"})
    assert answer.status_code == 200
    assert reader.asked[0].sql == catalogue.get("numbers").sql
    assert reader.asked[0].parameters["text"] == hostile


async def test_json_says_what_was_asked_and_what_the_columns_mean(catalogue: Catalogue) -> None:
    """Around ClickHouse's own bytes, which are not touched: not a digit is lost."""
    reader = NotedReader(b'[\n{"n":0,"usd":', b"0.300000000000000000001}\n]\n")
    async with client_of(app_of(catalogue, reader)) as client:
        response = await client.get(ROWS, params={"since": "2026-11-20T01:00+01:00", "until": "2026-11-21"})
    assert '"usd":0.300000000000000000001}' in response.text
    answer = response.json()
    assert answer["query"] == "numbers"
    assert answer["parameters"] == {
        "since": "2026-11-20T00:00:00.000000Z",
        "until": "2026-11-21T00:00:00.000000Z",
        "tenant": "acme",
        "limit": 3,
        "text": "",
    }
    assert answer["columns"][2] == {"name": "usd", "unit": "USD", "doc": "a nano-dollar each"}
    assert len(answer["rows"]) == 1
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("csv", "text/csv; charset=utf-8"), ("arrow", "application/vnd.apache.arrow.stream")],
)
async def test_other_formats_are_clickhouses_bytes(catalogue: Catalogue, name: str, media_type: str) -> None:
    """As a file, with the query's name."""
    reader = NotedReader(b"a", b"\x00b")
    async with client_of(app_of(catalogue, reader)) as client:
        response = await client.get(ROWS, headers={"Accept": media_type})
    assert response.content == b"a\x00b"
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Content-Disposition"] == f'attachment; filename="numbers.{name}"'


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry"),
    [
        (QueryFault(Reason.TOO_SLOW, "inside"), 504, "query_timeout", False),
        (QueryFault(Reason.RESULT_TOO_LARGE, "inside"), 400, "result_too_large", False),
        (QueryFault(Reason.TOO_MUCH_MEMORY, "inside"), 400, "query_too_large", False),
        (QueryFault(Reason.WRONG_PARAMETER, "inside"), 400, "invalid_request", False),
        (QueryFault(Reason.BUSY, "inside"), 503, "overloaded", True),
        (QueryFault(Reason.NOT_READY, "inside"), 503, "service_unavailable", True),
        (QueryFault(Reason.MISCONFIGURED, "inside"), 503, "reader_not_available", True),
        (QueryFault(Reason.BROKEN, "inside"), 500, "query_failed", False),
        (ClickHouseUnavailable("inside"), 503, "service_unavailable", True),
    ],
)
async def test_every_fault_says_what_to_do_and_shows_no_insides(
    catalogue: Catalogue, fault: Exception, status: int, code: str, retry: bool
) -> None:
    """What to narrow, or when to try again; ClickHouse's own words are in the log."""
    async with client_of(app_of(catalogue, NotedReader(fault=fault))) as client:
        response = await client.get(ROWS)
    assert error_of(response)[::2] == (status, code)
    assert "inside" not in response.text
    assert ("Retry-After" in response.headers) is retry
    if code in ("query_timeout", "result_too_large", "query_too_large"):
        assert response.json()["error"]["param"] == "since"
        assert "since and until" in response.json()["error"]["message"]


async def test_every_reason_has_an_answer(catalogue: Catalogue) -> None:
    """None falls through to a fault of the server's."""
    for reason in Reason:
        fault = QueryFault(reason, "inside")
        async with client_of(app_of(catalogue, NotedReader(fault=fault))) as client:
            assert (await client.get(ROWS)).json()["error"]["code"] != "internal_error"


async def test_without_a_reader_nothing_is_asked(catalogue: Catalogue) -> None:
    """The documentation is there all the same."""
    async with client_of(app_of(catalogue, None)) as client:
        assert (await client.get("/v1/analytics/queries")).status_code == 200
        response = await client.get(ROWS)
    assert error_of(response)[::2] == (503, "reader_not_available")


async def test_too_many_at_once(catalogue: Catalogue) -> None:
    """Ones own are a 429, everybody's a 503; both say when to come again."""
    slots = QuerySlots(running=2, wait_s=0.01)
    async with client_of(app_of(catalogue, NotedReader(), slots=slots)) as client:
        async with slots.hold("acme"):
            own = await client.get(ROWS)
        async with slots.hold("globex"), slots.hold("initech"):
            others = await client.get(ROWS)
        assert (await client.get(ROWS)).status_code == 200
    assert error_of(own)[:3] == (429, "rate_limit_error", "too_many_queries")
    assert error_of(others)[:3] == (503, "unavailable_error", "overloaded")
    assert int(own.headers["Retry-After"]) >= 1
    assert int(others.headers["Retry-After"]) >= 1


async def test_only_configured_origins_may_ask_from_browsers(catalogue: Catalogue) -> None:
    """By default none."""
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    app = app_of(catalogue, NotedReader(), cors_origins=["https://app.example"])
    async with client_of(app) as client:
        allowed = await client.options(ROWS, headers=asked)
        other = await client.options(ROWS, headers={**asked, "Origin": "https://evil.example"})
        answer = await client.get(ROWS, headers={"Origin": "https://app.example"})
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Origin" not in other.headers
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    async with client_of(app_of(catalogue, NotedReader())) as client:
        none = await client.get(ROWS, headers={"Origin": "https://app.example"})
    assert "Access-Control-Allow-Origin" not in none.headers


async def test_unknown_routes_and_methods_are_error_objects(catalogue: Catalogue) -> None:
    """With a pointer to the routes' description."""
    async with client_of(app_of(catalogue)) as client:
        unknown = await client.get("/v1/analytics/nothing")
        wrong_method = await client.post(ROWS)
    assert error_of(unknown)[::2] == (404, "unknown_route")
    assert "/openapi.json" in unknown.json()["error"]["message"]
    assert error_of(wrong_method)[::2] == (405, "method_not_allowed")


async def test_openapi_has_every_query_as_a_path() -> None:
    """With its own parameters, types, bounds and columns; it needs no key, for it holds no data."""
    catalogue = Catalogue.load()
    async with client_of(app_of(catalogue), None) as client:
        document = (await client.get("/openapi.json")).json()
    for query in catalogue:
        operation = document["paths"][f"/v1/analytics/queries/{query.name}/rows"]["get"]
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert names == [*(parameter.name for parameter in query.parameters), "format"]
        assert operation["security"]
        assert set(operation["responses"]["200"]["content"]) == {
            "application/json", "text/csv", "application/vnd.apache.arrow.stream",
        }  # fmt: skip
    assert "/v1/analytics/queries/{name}/rows" in document["paths"]
