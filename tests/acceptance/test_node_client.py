"""OpenAI's official Node client, as it comes, talks to the running system.

With Anthropic's, which `test_one_charge` uses, it is installed from the registry that npm is set up for,
once, into the user's cache folder.
"""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from headrace.embedded.jars import default_cache_dir
from tests.acceptance.conftest import System

pytestmark = pytest.mark.acceptance

SCRIPT = Path(__file__).parent / "node" / "conversation.cjs"
PACKAGE = Path(__file__).parent / "node" / "package.json"
_INSTALL_TIMEOUT_S = 40
_TALK_TIMEOUT_S = 40
#: How npm names a registry that cannot be reached; any other failure is ours.
_UNREACHABLE = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder with the clients in the very versions that `package.json` names."""
    program("node")
    wanted = json.loads(PACKAGE.read_text(encoding="utf-8"))["dependencies"]
    versions = "-".join(f"{name.replace('/', '-').lstrip('@')}-{wanted[name]}" for name in sorted(wanted))
    home = default_cache_dir() / "node" / versions
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as fresh:
            _install(Path(fresh))
            if not home.exists():  # else another test run was faster
                shutil.move(fresh, home)
                Path(fresh).mkdir()  # for its clean-up
    return home / "node_modules"


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def _install(folder: Path) -> None:
    shutil.copy(PACKAGE, folder)
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"]
    try:
        result = subprocess.run(
            [program("npm"), "install", *quiet],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the client within {_INSTALL_TIMEOUT_S} s")
    if any(word in result.stderr for word in _UNREACHABLE):
        pytest.skip("npm cannot reach its registry")
    assert result.returncode == 0, result.stderr


def test_a_scripted_conversation(healthy: System, node_modules: Path) -> None:
    """Whole, streamed, with tools, with every kind of error: as the client makes them of OpenAI's own."""
    healthy.behave(faults=[{"kind": "hang", "rate": 1, "prompt_contains": "patience"}])
    found = talk(healthy, node_modules)

    whole = found["whole"]
    assert whole["text"]
    assert whole["finish"] == "stop"
    assert whole["id"] == f"chatcmpl-{whole['requestId']}"
    row = healthy.row(whole["requestId"])
    assert row["output_tokens"] == whole["usage"]["completion_tokens"]

    streamed = found["streamed"]
    reply = healthy.http.get(f"/v1/requests/{streamed['id'].removeprefix('chatcmpl-')}").json()
    assert streamed["chunks"] > 3
    assert (streamed["text"], streamed["finish"]) == (reply["content"], "stop")
    assert streamed["usage"]["completion_tokens"] == reply["usage"]["output_tokens"]

    tools = found["tools"]
    assert (tools["finish"], tools["name"]) == ("tool_calls", "weather")
    assert isinstance(tools["arguments"]["city"], str)
    assert "sunny" in tools["text"]

    found["errors"]["deadline"]["param"] = None  # it depends on which stage notices
    assert found["errors"] == {
        "unsupported": error("BadRequestError", 400, "unsupported_parameter", "logprobs"),
        "blocked": error("BadRequestError", 400, "content_filter"),
        "unknownModel": error("NotFoundError", 404, "model_not_found", "model"),
        "wrongKey": error("AuthenticationError", 401, "invalid_api_key"),
        "conflict": error("ConflictError", 409, "idempotency_conflict", "Idempotency-Key"),
        "timeout": {"class": "APIConnectionTimeoutError"},
        "deadline": error("InternalServerError", 504, "deadline_exceeded"),
    }
    assert {"gpt-4o-mini", "claude-3-5-sonnet"} < set(found["models"]["listed"])
    assert found["models"]["one"] == "openai"


def error(name: str, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """What the script says of an exception."""
    return {"class": name, "status": status, "code": code, "param": param}


def node_environ(node_modules: Path) -> dict[str, str]:
    """The environment of a script that requires the clients."""
    return os.environ | {"NODE_PATH": str(node_modules)}


def talk(system: System, node_modules: Path) -> Any:
    """Run the script and return what it prints."""
    result = subprocess.run(
        [
            program("node"),
            str(SCRIPT),
            f"{system.endpoints.ingest}/v1",
            system.endpoints.api_key,
            uuid.uuid4().hex,
        ],
        env=node_environ(node_modules),
        capture_output=True,
        text=True,
        timeout=_TALK_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
