"""`headrace privacy erase` on a running system: one of two users is forgotten, everywhere."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from tests.acceptance.conftest import SILENT_KEY, System, headrace, run_headrace, unique, wait_for

pytestmark = pytest.mark.acceptance

_RUNS_OUT_S = 30.0


def erase(system: System, user: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its exit code and its report."""
    arguments = ("erase", user, "--tenant", "default", "--yes", "--json", *options)
    result = run_headrace("privacy", *arguments, data_dir=system.data_dir)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


def ask(system: System, user: str, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        response = system.chat(unique("What is lye?"), user_id=user, session_id=f"session of {user}")
        assert response.status_code == 200, response.text
        ids.append(response.headers["x-request-id"])
    for request_id in ids:
        system.row(request_id)
    return ids


def named_in_clickhouse(system: System, user: str) -> dict[str, int]:
    """The rows of any table that hold the user's name in any column, merged or not."""
    columns = system.sql(
        "SELECT table, name FROM system.columns WHERE database = 'headrace' AND type LIKE '%String%' "
        "AND table IN (SELECT name FROM system.tables WHERE database = 'headrace' AND engine LIKE '%Tree' "
        "AND name NOT LIKE '%_staging_%')"
    )
    tables: dict[str, list[str]] = {}
    for column in columns:
        tables.setdefault(column["table"], []).append(f"toString({column['name']})")
    found = {}
    for table, names in tables.items():
        where = f"arrayExists(text -> position(text, {{user:String}}) > 0, [{', '.join(names)}])"
        [row] = system.sql(f"SELECT count() AS n FROM {table} WHERE {where}", user=user)
        found[table] = int(row["n"])
    return {table: n for table, n in found.items() if n}


def forgotten_in_clickhouse(system: System, user: str) -> bool:
    """Whether nothing names the user: at once, but for a rollup that is being computed just now."""
    found = named_in_clickhouse(system, user)
    assert not {table: n for table, n in found.items() if not table.startswith("rollup_")}
    return wait_for(lambda: not named_in_clickhouse(system, user), 30) is True


def named_in_redis(system: System, *texts: str) -> list[str]:
    """Every key that holds one of the texts, in its name or its value."""
    client: Any = Redis.from_url(system.endpoints.redis)
    found = []
    for key in client.scan_iter(count=500):
        # Whatever it is: as Redis would write it to a file.
        held = key + b"\n" + (_plain(client, key) or client.dump(key) or b"")
        found += [key.decode() for text in texts if text.encode() in held]
    client.close()
    return found


def _plain(client: Any, key: bytes) -> bytes | None:
    """Return a value's bytes where they would be compressed on their way to a file."""
    kind = client.type(key)
    if kind == b"string":
        return bytes(client.get(key) or b"")
    if kind == b"hash":
        return b"\n".join(part for pair in client.hgetall(key).items() for part in pair)
    if kind in (b"zset", b"set"):
        return b"\n".join(client.zrange(key, 0, -1) if kind == b"zset" else client.smembers(key))
    return None


def costs(system: System) -> dict[str, tuple[str, str, str]]:
    """Return tenant, model and cost of each request that has a row: those of other tests, too."""
    rows = system.sql("SELECT request_id, tenant, model, toString(cost_usd) AS usd FROM requests")
    return {row["request_id"]: (row["tenant"], row["model"], row["usd"]) for row in rows}


def test_one_of_two_users_is_forgotten(healthy: System) -> None:
    """In ClickHouse, in Redis, over HTTP; the other one is untouched, every sum is, and the books balance."""
    since = datetime.now(UTC).isoformat()
    ann, bob = f"ann-{uuid.uuid4().hex}", f"bob-{uuid.uuid4().hex}"
    hers, his = ask(healthy, ann, 3), ask(healthy, bob, 2)
    wait_for(
        lambda: all(named_in_clickhouse(healthy, user).get("rollup_users_1d") for user in (ann, bob)), 60
    )
    answers = {each: healthy.http.get(f"/v1/requests/{each}").json() for each in (*hers, *his)}
    assert all(answers[each]["content"] for each in hers)
    before = costs(healthy)
    named = named_in_clickhouse(healthy, bob)

    code, plan = erase(healthy, ann, "--dry-run")
    assert (code, plan["verdict"], plan["requests"]) == (0, "planned", 3)
    code, report = erase(healthy, ann)
    assert (code, report["verdict"], report["under_way"]) == (0, "erased", 0), report
    assert {place["name"]: place["found"] for place in report["places"] if place["found"]} == {
        "payloads_raw": 3,
        "llm_calls_raw": 3,
        "requests_raw": 3,
        "rollup_users_1d": 1,
        "stored replies": 3,
        "cached answers": 3,
    }

    assert forgotten_in_clickhouse(healthy, ann)
    texts = [str(answers[each]["content"]) for each in hers]
    assert named_in_redis(healthy, ann, *texts) == []
    for request_id in hers:
        body = healthy.http.get(f"/v1/requests/{request_id}").json()
        assert (body["status"], body["content"], body["error"]["code"]) == ("answered", "", "erased")
        assert body["cost_usd"] == answers[request_id]["cost_usd"]
        assert healthy.row(request_id)["user_id"] == report["pseudonym"]
    after = costs(healthy)  # rows of other tests may have come meanwhile
    assert {each: after.get(each) for each in before} == before
    assert named_in_clickhouse(healthy, bob) == named
    assert {each: healthy.http.get(f"/v1/requests/{each}").json() for each in his} == {
        each: answers[each] for each in his
    }

    assert erase(healthy, ann)[1]["places"] == [place | {"found": 0} for place in report["places"]]
    headrace("audit", "--since", since, "--wait", str(_RUNS_OUT_S), data_dir=healthy.data_dir)


def test_a_request_that_runs_while_its_user_is_erased(healthy: System) -> None:
    """It was accepted before: its sender gets the answer, and then nobody has it any more."""
    ann = f"ann-{uuid.uuid4().hex}"
    healthy.behave(latency={"first_token_ms": 4_000})
    try:
        body = {"query": unique("What is slow?"), "user_id": ann}
        accepted = healthy.http.post("/v1/requests", json=body)
        assert accepted.status_code == 202, accepted.text
        request_id = accepted.json()["request_id"]
        code, report = erase(healthy, ann)
    finally:
        healthy.behave_well()
    assert (code, report["verdict"], report["requests"]) == (0, "erased", 1), report
    assert healthy.http.get(f"/v1/requests/{request_id}").json()["content"] == ""
    assert healthy.row(request_id)["user_id"] == report["pseudonym"]
    assert forgotten_in_clickhouse(healthy, ann)
    assert named_in_redis(healthy, ann) == []


def test_a_tenant_s_texts_are_not_stored_where_it_says_so(healthy: System) -> None:
    """Neither in ClickHouse nor in the log record on its way there."""
    question = unique("What is silence?")
    response = healthy.http.post(
        "/v1/chat",
        json={"query": question, "user_id": "u"},
        headers={"Authorization": f"Bearer {SILENT_KEY}"},
    )
    assert response.status_code == 200, response.text
    row = healthy.row(response.headers["x-request-id"])
    assert row["tenant"] == "silent"
    kept = healthy.sql("SELECT count() AS n FROM payloads WHERE tenant = 'silent'")
    assert int(kept[0]["n"]) == 0
