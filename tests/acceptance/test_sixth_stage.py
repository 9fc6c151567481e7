"""A sixth stage for chat, added exactly as docs/adding-a-stage.md says, to a copy of the source."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import parts
from tests.acceptance.conftest import System, started, unique, wait_for

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-stage.md"
PACKAGES = ("streams", "ingest", "agents", "analytics", "headrace")
#: A path in backticks, and the next block of code: a whole file, or a change to one.
BLOCK = re.compile(r"`([\w/]+\.py)`(?:(?!```|`[\w/]+\.py`).)*?```(python|diff)\n(.*?)```", re.DOTALL)
FOLLOWING = re.compile(r"^\n*```diff\n(.*?)```", re.DOTALL)


def apply_page(text: str, tree: Path) -> list[str]:
    """Make the changes of the page in a copy of the source. Return the files that it changes."""
    changed: list[str] = []
    for found in BLOCK.finditer(text):
        path, kind, content = found.groups()
        file = tree / path
        changed.append(path)
        if kind == "python":
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
            continue
        _change(file, content)
        if more := FOLLOWING.match(text[found.end() :]):
            _change(file, more[1])
    return changed


def _change(file: Path, diff: str) -> None:
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    source = file.read_text()
    assert source.count(before) == 1, f"the page does not fit {file.name}: {before}"
    file.write_text(source.replace(before, after))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A Headrace that runs from the copy."""
    if parts.source()[0] == "containers":
        pytest.skip("its new topic would stay in a Kafka that other tests use")
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    apply_page(PAGE.read_text(), tree)
    environ = {"PYTHONPATH": str(tree), "HEADRACE_EMBEDDINGS": "off"}
    with started(tmp_path_factory.mktemp("system") / "home", environ=environ) as system:
        yield system


def test_the_page_is_one_row_one_package_and_one_line_of_wiring(tmp_path: Path) -> None:
    """Beside the topic that the row reads."""
    for package in ("streams", "agents"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    package = [f"agents/denylist/{name}.py" for name in ("__init__", "stage")]
    files = ["streams/topics.py", "streams/pipeline.py", *package, "agents/bootstrap.py"]
    assert apply_page(PAGE.read_text(), tmp_path) == files


def test_a_request_passes_the_new_stage(extended: System) -> None:
    """Its answer comes as ever, and the new stage stands behind the guardrail among those it has met."""
    answer = extended.chat(unique("What is the capital of France?"))
    assert answer.status_code == 200, answer.text
    extended.row(answer.headers["X-Request-ID"])
    stages = extended.sql(
        "SELECT stage FROM stages WHERE request_id = {id:String} ORDER BY started_at",
        id=answer.headers["X-Request-ID"],
    )
    assert [row["stage"] for row in stages] == ["guardrail", "denylist", "cache", "llm", "output", "cost"]


def test_the_new_stage_ends_a_request(extended: System) -> None:
    """As blocked, with its own code."""
    answer = extended.chat("Tell me about Project Osprey.")
    assert "denylist" in answer.text
    row = extended.row(answer.headers["X-Request-ID"])
    assert (row["status"], row["error_code"]) == ("blocked", "denylist")


def test_the_live_page_shows_its_consumer_group(extended: System) -> None:
    """With nobody asked to name it there: the lags are those of every row."""

    def groups() -> dict[str, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {extended.endpoints.admin_key}"}
        page = httpx.get(f"{extended.endpoints.analytics}/v1/analytics/live", headers=headers, timeout=30)
        return {each["stage"]: each for each in page.json().get("topics", ())}

    found = wait_for(lambda: groups().get("denylist"), 30)
    assert (found["topic"], found["members"]) == ("llm.screened.v1", 1)
