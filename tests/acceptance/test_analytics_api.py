"""Real pipeline data through the analytics API: exact, fresh, and each tenant's own."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import clickhouse_connect
import httpx
import msgspec
import pyarrow.ipc
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.acceptance.conftest import GLOBEX_KEY, System, unique, wait_for

pytestmark = pytest.mark.acceptance

_ROW_TIMEOUT_S = 30.0
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class Analytics:
    """The analytics API with one key."""

    def __init__(self, system: System, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=system.endpoints.analytics, headers=headers, timeout=60)

    def get(self, name: str, **parameters: str) -> httpx.Response:
        """Ask a query."""
        return self.http.get(f"/v1/analytics/queries/{name}/rows", params=parameters)

    def rows(self, name: str, **parameters: str) -> list[dict[str, Any]]:
        """Return the rows of a query; money is exact."""
        response = self.get(name, **parameters)
        assert response.status_code == 200, response.text
        rows: list[dict[str, Any]] = _decoder.decode(response.content)["rows"]
        return rows


@pytest.fixture
def analysts(healthy: System) -> Iterator[dict[str, Analytics]]:
    """The API as each tenant and the admin have it."""
    keys = {
        "default": healthy.endpoints.api_key,
        "globex": GLOBEX_KEY,
        "admin": healthy.endpoints.admin_key,
    }
    found = {name: Analytics(healthy, key) for name, key in keys.items()}
    yield found
    for each in found.values():
        each.http.close()


def ask(system: System, key: str, user: str) -> tuple[str, Decimal]:
    """Send a request; return its id and what it cost."""
    response = httpx.post(
        f"{system.endpoints.ingest}/v1/chat",
        headers={"Authorization": f"Bearer {key}"},
        json={"query": unique("what is a headrace?"), "user_id": user},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    answer = _decoder.decode(response.content)
    return answer["request_id"], Decimal(answer["cost_usd"])


def test_each_key_sees_its_own_requests_to_the_nano_dollar(
    healthy: System, analysts: dict[str, Analytics]
) -> None:
    """What clients were told their requests cost is what the API sums up, by tenant; the admin sees both."""
    user = unique("analyst").replace(" ", "-")
    sent = {
        "default": [ask(healthy, healthy.endpoints.api_key, user) for _ in range(3)],
        "globex": [ask(healthy, GLOBEX_KEY, user) for _ in range(2)],
    }
    for request_id, _ in (*sent["default"], *sent["globex"]):
        healthy.row(request_id)

    def cost_of_user(name: str) -> dict[str, Decimal]:
        rows = analysts[name].rows("cost_by_user", since="1h", limit="10000")
        return {row["tenant"]: Decimal(row["cost_usd"]) for row in rows if row["user_id"] == user}

    expected = {tenant: sum(cost for _, cost in requests) for tenant, requests in sent.items()}
    assert wait_for(lambda: cost_of_user("admin") == expected, _ROW_TIMEOUT_S), cost_of_user("admin")
    assert cost_of_user("default") == {"default": expected["default"]}
    assert cost_of_user("globex") == {"globex": expected["globex"]}


def test_another_tenants_request_cannot_be_looked_up(healthy: System, analysts: dict[str, Analytics]) -> None:
    """Its story is there for its own tenant and the admin, and empty for the other."""
    request_id, _ = ask(healthy, GLOBEX_KEY, "cyd")
    healthy.row(request_id)
    for name, found in (("globex", True), ("admin", True), ("default", False)):
        assert bool(analysts[name].rows("request_stages", request_id=request_id)) is found, name
    refused = analysts["default"].get("request_stages", request_id=request_id, tenant="globex")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "tenant_not_allowed")
    assert httpx.get(f"{healthy.endpoints.analytics}/v1/analytics/queries").status_code == 401


def test_an_analysts_own_client_reads_and_cannot_write(healthy: System) -> None:
    """With the URL in endpoints.json and clickhouse-connect: frames of exact rows, and nothing else."""
    request_id, cost = ask(healthy, healthy.endpoints.api_key, "eve")
    healthy.row(request_id)
    url = healthy.endpoints.clickhouse_reader
    assert url is not None
    with clickhouse_connect.get_client(dsn=f"{url}/headrace") as client:
        sql = "SELECT cost_usd FROM requests WHERE request_id = {id:String}"
        frame = client.query_df(sql, parameters={"id": request_id})
        assert frame["cost_usd"].tolist() == [cost]
        for statement in ("TRUNCATE TABLE requests_raw", "SYSTEM STOP MERGES", "DROP DATABASE headrace"):
            with pytest.raises(DatabaseError):
                client.command(statement)
        assert client.query(sql, parameters={"id": request_id}).result_rows == [(cost,)]


def test_every_format_has_the_same_rows(healthy: System, analysts: dict[str, Analytics]) -> None:
    """JSON, CSV and Arrow agree on real rows, over a real connection."""
    request_id, _ = ask(healthy, healthy.endpoints.api_key, "dot")
    healthy.row(request_id)
    asked = {"since": "1h", "until": "0s", "limit": "1000"}
    rows = analysts["default"].rows("cost_by_model", **asked)
    lines = analysts["default"].get("cost_by_model", format="csv", **asked).text.splitlines()
    arrow = analysts["default"].get("cost_by_model", format="arrow", **asked).content
    table = pyarrow.ipc.open_stream(arrow).read_all()
    assert len(rows) == len(lines) - 1 == table.num_rows >= 1
    assert lines[0].replace('"', "").split(",") == table.column_names == list(rows[0])
    assert [Decimal(cost) for cost in table.column("cost_usd").to_pylist()] == [
        Decimal(row["cost_usd"]) for row in rows
    ]
