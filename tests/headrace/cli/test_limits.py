"""`headrace limits test`: what a key may do, and what it has used."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import build_app
from streams.control.specs import LimitSpec
from streams.control.state import ControlState
from streams.limits.limiter import RateLimiter, Take
from streams.limits.subjects import Requester, subjects_of
from streams.redis import connection
from streams.serving.api_keys import digest_of_key

KEY = "a key of the settings"
KEY_ID = "env_" + digest_of_key(KEY)[:12]


def limits(*arguments: str, environ: dict[str, str], stdin: str = "") -> Result:
    return CliRunner().invoke(build_app(["limits"]), ["limits", "test", *arguments], env=environ, input=stdin)


@pytest.fixture
def environ(
    kafka_bootstrap: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {
        "HEADRACE_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "HEADRACE_REDIS_URL": redis_url,
        "HEADRACE_CLICKHOUSE_URL": "http://127.0.0.1:1",
        "HEADRACE_API_KEYS": json.dumps({KEY: {"tenant": "acme", "tier": "free"}}),
    }


async def use(redis_url: str, user: str) -> None:
    """Send three requests for a user, two of which are under way."""
    redis = connection.connect(redis_url, timeout_s=30)
    limiter = RateLimiter(redis)
    spec = ControlState().specs(LimitSpec)["free"]
    who = Requester(key=KEY_ID, tenant="acme", tier="free", user=user)
    takes = [Take(subject=each, tokens=500) for each in subjects_of(spec, who)]
    for permit_s in (0.0, 60.0, 60.0):
        await limiter.take(uuid4().hex, takes, attempt=uuid4().hex, entry="none", permit_s=permit_s)
    await redis.aclose()


@pytest.mark.integration
@pytest.mark.parametrize(("key", "stdin"), [(KEY_ID, ""), (KEY, ""), ("-", f"{KEY}\n"), ("-", KEY_ID)])
def test_it_shows_what_is_in_use(environ: dict[str, str], redis_url: str, key: str, stdin: str) -> None:
    """Each limit of the tier, for a key by its id or by itself; reading counts nothing."""
    user = uuid4().hex
    asyncio.run(use(redis_url, user))
    for _ in range(2):
        found = json.loads(limits(key, "--user", user, "--json", environ=environ, stdin=stdin).stdout)
        assert (found["key"], found["tenant"], found["tier"]) == (KEY_ID, "acme", "free")
        mine = [each for each in found["limits"] if each["subject"] == user]  # others use the key, too
        rows = [(each["limit"], each["size"], each["used"], each["remaining"]) for each in mine]
        assert rows == [("requests", 10, 3, 7), ("tokens", 20_000, 1_500, 18_500), ("concurrent", 2, 2, 0)]


@pytest.mark.integration
def test_it_reads_well(environ: dict[str, str]) -> None:
    """One line a limit, also of an address; the key itself is never shown."""
    user = uuid4().hex
    result = limits(KEY, "--user", user, "--address", "2001:db8::7", environ=environ)
    title, of_key, *others = result.stdout.splitlines()
    assert title == f"key {KEY_ID}: tenant acme, tier free"
    assert of_key.startswith(f"key {KEY_ID}: 60 requests a minute; ")
    assert others == [
        f"user {user}: 10 requests a minute; 0 in use, 10 left",
        f"user {user}: 20,000 tokens a minute; 0 in use, 20,000 left",
        f"user {user}: 2 requests at a time; 0 in use, 2 left",
        "address 2001:db8::/64: 60 requests a minute; 0 in use, 60 left",
    ]


@pytest.mark.integration
def test_a_key_without_limits(environ: dict[str, str]) -> None:
    """It says whether a record says so, or none does."""
    for tier, said in (("unlimited", "limits nothing here"), ("gold", "there is no record limits.gold")):
        environ["HEADRACE_API_KEYS"] = json.dumps({KEY: {"tenant": "acme", "tier": tier}})
        assert said in limits(KEY_ID, environ=environ).stdout


@pytest.mark.integration
def test_an_unknown_key(environ: dict[str, str]) -> None:
    """Is refused, and not repeated."""
    result = limits("no-such-key", environ=environ)
    assert result.exit_code == 2
    assert "the API key is not known here" in result.stderr
    assert "no-such-key" not in result.stderr


def test_a_wrong_address() -> None:
    """Is named before anything is asked."""
    result = limits("key_1", "--address", "nowhere", environ={})
    assert result.exit_code == 2
    assert "'nowhere' is no IP address" in result.stderr
