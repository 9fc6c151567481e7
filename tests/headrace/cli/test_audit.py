"""`headrace audit` as an operator types it."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from headrace.cli.app import build_app
from headrace.embedded.process import free_port
from streams.kafka.topic_admin import create_topics
from tests import parts as real_parts
from tests.databases import database_with

integration = pytest.mark.integration

Environ = dict[str, str]


def run(*arguments: str, environ: Environ | None = None) -> Result:
    """Type a command."""
    return CliRunner().invoke(build_app(["audit"]), ["audit", *arguments], env=environ or {})


@pytest.fixture
def nowhere(tmp_path: Path) -> Environ:
    """An environment in which no part answers."""
    return {
        "HEADRACE_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "HEADRACE_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "HEADRACE_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}",
        "HEADRACE_KAFKA_TIMEOUT_S": "2",
        "HEADRACE_DATA_DIR": str(tmp_path),
    }


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of its own: the audit judges all that was written to the topics lately, by whomever."""
    with real_parts.kafka(tmp_path_factory.mktemp("kafka")) as bootstrap:
        asyncio.run(create_topics(bootstrap, partitions=real_parts.PARTITIONS, replication=1))
        yield bootstrap


@pytest.fixture
def parts(nowhere: Environ, own_kafka: str, redis_url: str, clickhouse_url: str) -> Iterator[Environ]:
    """An environment in which every part answers, with a database of its own."""
    with database_with(clickhouse_url, "audit") as database:
        yield nowhere | {
            "HEADRACE_KAFKA_BOOTSTRAP": own_kafka,
            "HEADRACE_REDIS_URL": redis_url,
            "HEADRACE_CLICKHOUSE_URL": clickhouse_url,
            "HEADRACE_CLICKHOUSE_DATABASE": database,
            "HEADRACE_KAFKA_TIMEOUT_S": "15",
        }


def produce(environ: Environ, topic: str, *values: dict[str, Any]) -> None:
    """Write records."""

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=environ["HEADRACE_KAFKA_BOOTSTRAP"]) as producer:
            for value in values:
                await producer.send_and_wait(topic, json.dumps(value).encode(), key=b"key")

    asyncio.run(send())


def now() -> str:
    """The time, a moment after everything that was written before."""
    time.sleep(0.002)
    return datetime.now(UTC).isoformat()


@pytest.mark.parametrize(
    "options",
    [("--since", "yesterday"), ("--since", "5 weeks"), ("--until", ""), ("--since", "1m", "--until", "2m")],
)
def test_a_window_that_makes_no_sense_is_refused(nowhere: Environ, options: tuple[str, ...]) -> None:
    """Exit code 2, and what may be said."""
    result = run(*options, environ=nowhere)
    assert result.exit_code == 2
    assert options[0] in result.output


def test_without_a_system_it_says_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a running `headrace up` says where Kafka is."""
    monkeypatch.chdir(tmp_path)
    unset = dict.fromkeys(("HEADRACE_KAFKA_BOOTSTRAP", "HEADRACE_REDIS_URL", "HEADRACE_CLICKHOUSE_URL"), "")
    result = run("--data-dir", str(tmp_path), environ=unset)
    assert result.exit_code == 2
    assert "HEADRACE_KAFKA_BOOTSTRAP" in result.output


def test_a_broker_that_does_not_answer_is_named(nowhere: Environ) -> None:
    """Exit code 2: that is no imbalance."""
    result = run(environ=nowhere)
    assert result.exit_code == 2
    assert "Kafka at " + nowhere["HEADRACE_KAFKA_BOOTSTRAP"] in result.output


@integration
@pytest.mark.parametrize(
    ("variable", "name"), [("HEADRACE_REDIS_URL", "Redis"), ("HEADRACE_CLICKHOUSE_URL", "ClickHouse")]
)
def test_a_store_that_does_not_answer_is_named(
    parts: Environ, nowhere: Environ, variable: str, name: str
) -> None:
    """Even where there is nothing to ask it."""
    result = run("--since", now(), environ=parts | {variable: nowhere[variable]})
    assert result.exit_code == 2
    assert f"error: {name}" in result.output


@integration
def test_a_simulator_that_does_not_answer_is_named(parts: Environ) -> None:
    """An audit that was asked to read the invoice must not pass without it."""
    result = run("--since", now(), "--invoice", f"http://127.0.0.1:{free_port()}", environ=parts)
    assert result.exit_code == 2
    assert "invoice" in result.output


@integration
def test_a_window_without_requests_balances(parts: Environ) -> None:
    """Exit code 0; the invoice is left out, and that is said."""
    result = run("--since", now(), environ=parts)
    assert result.exit_code == 0, result.output
    assert "0 accepted" in result.output
    assert "no simulator is known" in result.output


@integration
def test_a_request_that_nobody_works_on_is_open(parts: Environ) -> None:
    """Exit code 3, as long as the guardrail has not read it; after the wait, too."""
    since = now()
    produce(parts, "llm.requests.v1", {"user_id": "u", "query": "?", "request_id": "waits"})
    result = run("--since", since, "--wait", "0.5", "--json", environ=parts)
    assert result.exit_code == 3, result.output
    report = json.loads(result.stdout)
    assert (report["verdict"], report["figures"]["open"], report["waiting"]) == ("open", 1, 1)


@integration
def test_a_charge_without_a_request_breaks_the_balance(parts: Environ) -> None:
    """Exit code 1, with the id and what to do about it, for people and for scripts."""
    since, request_id = now(), f"forged-{uuid.uuid4().hex[:8]}"
    entry = {
        "entry_id": f"{request_id}:settle",
        "request_id": request_id,
        "tenant": "t",
        "user_id": "u",
        "kind": "settle",
        "amount_usd": "1",
        "booked_at": since,
    }
    produce(parts, "llm.ledger.v1", entry)
    result = run("--since", since, environ=parts)
    assert result.exit_code == 1, result.output
    assert request_id in result.output
    assert "✗" in result.output
    assert "does not balance" in result.output
    report = json.loads(run("--since", since, "--json", environ=parts).stdout)
    assert [each["ids"] for each in report["findings"] if each["breaks"]] == [[request_id]]
