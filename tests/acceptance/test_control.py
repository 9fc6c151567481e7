"""Control records in the running system: a change is live on every replica, and one record takes it back."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import System, headrace, run_headrace, unique, wait_for
from tests.acceptance.test_resume import Replica, second_replica

pytestmark = pytest.mark.acceptance

#: A change is live in two seconds; a busy machine may need longer to look.
LIVE_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def replica(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A second ingest."""
    with second_replica(system, tmp_path_factory.mktemp("replica")) as running:
        yield running


def created(system: System, *options: str) -> tuple[str, str]:
    """A new key: its id, and the key."""
    made = json.loads(headrace("keys", "create", *options, "--json", data_dir=system.data_dir))
    assert set(made) == {"id", "key"}
    return made["id"], made["key"]


def models(base: str, key: str) -> httpx.Response:
    """Ask for what any key may ask."""
    return httpx.get(f"{base}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=30)


def live_within(condition: Callable[[], bool]) -> float:
    """Wait until a change is live; return how long that took, in seconds."""
    began = time.monotonic()
    assert wait_for(condition, LIVE_WITHIN_S)
    return time.monotonic() - began


def test_a_key_lives_on_every_replica_and_dies_on_every_one(system: System, replica: Replica) -> None:
    """Made, listed, used, replaced, revoked; its owner's rows are its tenant's, and its user's."""
    bases = [system.endpoints.ingest, replica.base]
    key_id, key = created(system, "--tenant", "control-test", "--user", "ann", "--tier", "premium")
    live_within(lambda: all(models(base, key).status_code == 200 for base in bases))
    listed = json.loads(
        headrace("keys", "list", "--tenant", "control-test", "--json", data_dir=system.data_dir)
    )
    assert [(each["id"], each["user"], each["tier"]) for each in listed["keys"]] == [
        (key_id, "ann", "premium")
    ]
    body = {"query": unique("Whose is this?"), "user_id": "ann"}
    answered = httpx.post(
        f"{system.endpoints.ingest}/v1/chat", json=body, headers={"X-API-Key": key}, timeout=60
    ).json()
    row = system.row(answered["request_id"])
    assert (row["tenant"], row["user_id"], row["tier"]) == ("control-test", "ann", "premium")
    refused = httpx.post(
        f"{system.endpoints.ingest}/v1/chat",
        json=body | {"user_id": "bob"},
        headers={"X-API-Key": key},
        timeout=60,
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "user_not_allowed")

    rotated = json.loads(headrace("keys", "rotate", key_id, "--json", data_dir=system.data_dir))
    assert rotated["id"] == key_id
    live_within(lambda: all(models(base, key).status_code == 401 for base in bases))
    assert models(replica.base, rotated["key"]).status_code == 200
    headrace("keys", "revoke", key_id, "--reason", "the test is over", data_dir=system.data_dir)
    live_within(lambda: all(models(base, rotated["key"]).status_code == 401 for base in bases))
    assert run_headrace("keys", "revoke", key_id, data_dir=system.data_dir).returncode != 0
    written = [path.read_text(errors="replace") for path in (system.data_dir / "log").glob("*.log")]
    assert written
    assert not [text for text in written if key in text or rotated["key"] in text]


def test_analysts_keys_come_and_go_too(system: System) -> None:
    """A key reads its own tenant's rows; one with the scope admin reads all; chat alone reads none."""
    address = f"{system.endpoints.analytics}/v1/analytics/queries"

    def status(key: str) -> int:
        return httpx.get(address, headers={"Authorization": f"Bearer {key}"}, timeout=30).status_code

    _, reader = created(system, "--tenant", "control-test")
    _, sender = created(system, "--tenant", "control-test", "--scope", "chat")
    live_within(lambda: status(sender) == 403)
    live_within(lambda: status(reader) == 200)


def test_a_file_is_applied_and_one_record_takes_it_back(system: System, tmp_path: Path) -> None:
    """A dry run shows it and writes nothing; a wrong file changes nothing."""
    file = tmp_path / "headrace.yaml"
    file.write_text("limits:\n  control-test:\n    per_user: {requests_per_minute: 7}\n")
    applying = ("apply", "-f", str(file), "--json")
    planned = json.loads(headrace(*applying, "--dry-run", data_dir=system.data_dir))
    assert ([each["name"] for each in planned["changed"]], planned["written"]) == (["control-test"], False)
    assert run_headrace("control", "get", "limit", "control-test", data_dir=system.data_dir).returncode == 1
    assert json.loads(headrace(*applying, data_dir=system.data_dir))["written"]
    assert json.loads(headrace(*applying, data_dir=system.data_dir)) == {"changed": [], "written": False}
    file.write_text("limits:\n  control-test:\n    per_user: {requests: 7}\n")
    wrong = run_headrace(*applying, data_dir=system.data_dir)
    assert wrong.returncode != 0
    assert "limits.control-test.per_user: Object contains unknown field `requests`" in wrong.stderr
    headrace("control", "rollback", "limit", "control-test", data_dir=system.data_dir)
    told = json.loads(
        headrace("control", "history", "limit", "control-test", "--json", data_dir=system.data_dir)
    )
    assert [each["spec"] for each in told["history"]] == [{"per_user": {"requests_per_minute": 7}}, None]


def test_the_same_over_http_for_admins_only(system: System) -> None:
    """A key with the scope admin changes records; a tenant's key does not."""
    base = f"{system.endpoints.ingest}/v1/admin"
    admin = {"Authorization": f"Bearer {system.endpoints.admin_key}"}
    path = f"{base}/control/limit/control-test-http"
    assert system.http.get(path).json()["error"]["code"] == "missing_scope"
    with httpx.Client(headers=admin, timeout=60) as client:
        assert client.get(path).status_code == 404
        (set_,) = client.put(path, json={"spec": {"per_key": {"concurrent_requests": 2}}}).json()["changed"]
        assert (set_["version"], set_["author"]) == (1, "HEADRACE_ADMIN_KEY")
        wrong = client.put(path, json={"spec": {"per_key": {"concurrent": 2}}})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (
            400,
            "limits.control-test-http.per_key",
        )
        made = client.post(f"{base}/keys", json={"tenant": "control-test", "tier": "control-test-http"})
        assert made.status_code == 201
        live_within(lambda: models(system.endpoints.ingest, made.json()["key"]).status_code == 200)
        used = client.delete(path)
        assert used.status_code == 400, "a tier with keys stays"
        client.delete(f"{base}/control/key/{made.json()['id']}").raise_for_status()
        client.delete(path).raise_for_status()
        assert [each["spec"] for each in client.get(path).json()["history"]][-1] is None
