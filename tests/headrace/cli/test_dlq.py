"""`headrace dlq` as an operator types it, on a real broker."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import build_app
from streams.errors import HeadraceError
from streams.publisher import Publisher
from tests.headrace.ops.dlq.dead_letter_records import buried, record

integration = pytest.mark.integration


class Operator:
    """Types commands."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            "HEADRACE_KAFKA_BOOTSTRAP": bootstrap,
            "HEADRACE_REDIS_URL": "redis://unused",
            "HEADRACE_CLICKHOUSE_URL": "http://unused",
            "HEADRACE_MAX_REPLAYS": "2",
            "HEADRACE_DATA_DIR": str(folder),
        }
        self._bootstrap = bootstrap

    def run(self, *arguments: str) -> Result:
        """Run a command outside a terminal."""
        return CliRunner().invoke(build_app(["dlq"]), ["dlq", *arguments], env=self.environ)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return the JSON that a command prints."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == code, result.output + repr(result.exception)
        return json.loads(result.stdout)

    def bury(self, request_id: str, *, count: int = 1, stage: str = "guardrail") -> list[str]:
        """Write dead letters and return their ids."""

        async def write() -> list[str]:
            async with Publisher(self._bootstrap, client_id="test") as publisher:
                emit = buried(record(b"\x00\xff", key=request_id.encode()), stage=stage)
                sent = [await publisher.publish(emit) for _ in range(count)]
                return [f"{each.partition}:{each.offset}" for each in sent]

        return asyncio.run(write())


@pytest.fixture
def operator(kafka_bootstrap: str, tmp_path: Path) -> Operator:
    return Operator(kafka_bootstrap, tmp_path)


@pytest.fixture
def request_id() -> str:
    return f"dlq-{uuid.uuid4().hex}"


@integration
def test_list_show_and_summary(operator: Operator, request_id: str) -> None:
    """What is found by a filter is shown by its id; the summary counts beyond the limit."""
    ids = operator.bury(request_id, count=3)
    listed = operator.json("list", "--request-id", request_id, "--limit", "2")
    assert [each["id"] for each in listed["letters"]] == ids[1:]
    assert listed["matched"] == 3
    assert {each["state"] for each in listed["letters"]} == {"open"}
    result = operator.run("list", "--request-id", request_id, "--limit", "2")
    assert all(each in result.stdout for each in ids[1:])
    assert "1 older ones match" in result.stderr
    (kind,) = operator.json("list", "--request-id", request_id, "--limit", "1", "--summary")["summary"]
    assert (kind["stage"], kind["exception"], kind["letters"]) == ("guardrail", "UndecodableRecord", 3)
    assert "UndecodableRecord" in operator.run("list", "--since", "1h", "--summary").stdout
    shown = operator.run("show", ids[0])
    assert shown.exit_code == 0
    assert "__streams.errors.stage: guardrail" in shown.stdout
    assert operator.json("show", ids[0])["value"] == {"base64": "AP8="}


@integration
def test_raw_is_the_value_and_nothing_else(operator: Operator, request_id: str) -> None:
    """Bytes for a pipe, without a line break."""
    (letter,) = operator.bury(request_id)
    assert operator.run("show", letter, "--raw").stdout_bytes == b"\x00\xff"


@integration
def test_a_replay_is_done_once_and_its_trail_can_be_read(operator: Operator, request_id: str) -> None:
    """The second is refused with exit code 1; forced it goes on to the cap."""
    (letter,) = operator.bury(request_id)
    (done,) = operator.json("replay", letter, "--by", "ann", "--reason", "mended")["results"]
    assert (done["outcome"], done["replay"], done["request_id"]) == ("replayed", 1, request_id)
    assert done["sent_to"].startswith("llm.requests.v1:")
    again = operator.run("replay", letter)
    assert again.exit_code == 1
    assert "already replayed" in again.stdout
    (forced,) = operator.json("replay", letter, "--force")["results"]
    assert (forced["outcome"], forced["replay"]) == ("replayed", 2)
    (capped,) = operator.json("replay", letter, "--force", code=1)["results"]
    assert "HEADRACE_MAX_REPLAYS is 2" in capped["detail"]
    shown = operator.json("show", letter)
    assert (shown["state"], shown["replays"]) == ("replayed", 2)
    first, second = shown["history"]
    assert (first["action"], first["by"], first["reason"]) == ("replayed", "ann", "mended")
    assert second["by"]
    assert operator.json("list", "--request-id", request_id)["matched"] == 0
    assert operator.json("list", "--request-id", request_id, "--state", "all")["matched"] == 1


@integration
def test_several_at_once_need_a_yes(operator: Operator, request_id: str) -> None:
    """Outside a terminal nobody can be asked; a dry run needs no yes and does nothing."""
    ids = operator.bury(request_id, count=2) + operator.bury(request_id, stage="llm")
    chosen = ("--request-id", request_id, "--stage", "guardrail")
    result = operator.run("replay", *chosen)
    assert isinstance(result.exception, HeadraceError)
    assert "2 dead letters match: add --yes" in str(result.exception)
    dry = operator.json("replay", *chosen, "--dry-run")["results"]
    assert [each["outcome"] for each in dry] == ["would_replay"] * 2
    assert operator.json("list", "--request-id", request_id)["matched"] == 3
    done = operator.json("replay", *chosen, "--yes", "--rate", "50")["results"]
    assert [(each["id"], each["outcome"]) for each in done] == [(each, "replayed") for each in ids[:2]]
    (left,) = operator.json("list", "--request-id", request_id)["letters"]
    assert left["id"] == ids[2]


@integration
def test_a_discard_needs_a_reason_and_keeps_the_record(operator: Operator, request_id: str) -> None:
    """One that matches alone is not asked about."""
    (letter,) = operator.bury(request_id)
    assert operator.run("discard", letter).exit_code == 2
    assert operator.run("discard", letter, "--reason", " ").exit_code == 2
    dry = operator.json("discard", letter, "--reason", "typing error", "--dry-run")
    assert dry["results"][0]["outcome"] == "would_discard"
    done = operator.json("discard", "--request-id", request_id, "--reason", "typing error")
    assert done["results"][0]["outcome"] == "discarded"
    assert operator.json("show", letter)["state"] == "discarded"
    refused = operator.json("replay", letter, code=1)["results"][0]
    assert "already discarded" in refused["detail"]


@integration
def test_what_is_not_there_is_an_error(operator: Operator) -> None:
    """With exit code 1, and without a traceback."""
    result = operator.run("show", "0:999999999")
    assert result.exit_code == 1
    assert "no dead letter 0:999999999" in result.stderr
    assert operator.json("replay", "0:999999999", code=1)["results"][0]["outcome"] == "missing"


@integration
def test_filters_that_match_nothing_are_no_error(operator: Operator, request_id: str) -> None:
    """There is nothing to do, and nobody to ask."""
    assert operator.json("replay", "--request-id", request_id)["results"] == []
    assert "no dead letters match" in operator.run("list", "--request-id", request_id).stderr


@integration
@pytest.mark.parametrize(("answer", "state"), [("n", "open"), ("y", "discarded")])
def test_on_a_terminal_the_operator_is_asked(
    operator: Operator, request_id: str, answer: str, state: str
) -> None:
    """After being shown what is meant; no is no."""
    operator.bury(request_id, count=2)
    terminal, side = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())
    result = subprocess.run(
        [sys.executable, "-m", "headrace", "dlq", "discard", "--request-id", request_id, "--reason", "test"],
        stdin=side,
        capture_output=True,
        text=True,
        env=os.environ | operator.environ,
        cwd=operator.folder,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    os.close(side)
    assert "discard 2 dead letters?" in result.stderr
    assert "UndecodableRecord" in result.stderr
    assert result.returncode == (0 if answer == "y" else 1)
    listed = operator.json("list", "--request-id", request_id, "--state", "all")
    assert {each["state"] for each in listed["letters"]} == {state}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("replay",), "--state open"),
        (("replay", "0:1", "--stage", "llm"), "not both"),
        (("replay", "first"), "partition:offset"),
        (("discard", "--reason", "x"), "--state open"),
        (("list", "--state", "closed"), "'open', 'replayed', 'discarded', 'all'"),
        (("list", "--since", "yesterday"), "2h"),
        (("list", "--limit", "0"), "limit"),
        (("show", "1-2"), "partition:offset"),
    ],
)
def test_what_is_unclear_is_asked_back_before_anything_is_done(
    arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    """Exit code 2, and what to write instead; no broker is needed to say so."""
    result = Operator("127.0.0.1:1", tmp_path).run(*arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_without_a_broker_there_is_one_clear_message(tmp_path: Path) -> None:
    """It names the address."""
    result = Operator("127.0.0.1:1", tmp_path).run("list")
    assert isinstance(result.exception, HeadraceError)
    assert "127.0.0.1:1" in str(result.exception)
