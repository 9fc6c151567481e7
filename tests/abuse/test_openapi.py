"""What the OpenAPI documents promise, asked of the running system by schemathesis."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import System, clean_environ

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

_RUN = (sys.executable, "-m", "schemathesis.cli", "run", "--no-color")
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.mark.parametrize(
    ("server", "examples", "without"),
    [
        # schemathesis cannot write JSON Lines.
        ("ingest", 8, "^/v1/batches$"),
        # They all share one way of answering, which the route of any query has too.
        ("analytics", 8, "queries/[a-z_]+/rows$"),
    ],
)
def test_no_answer_is_off_its_document(
    system: System, server: str, examples: int, without: str, tmp_path: Path
) -> None:
    """No 5xx but documented ones; no undocumented status or content type; no body off its schema."""
    address = getattr(system.endpoints, server)
    key = system.endpoints.api_key if server == "ingest" else system.endpoints.admin_key
    options = ["--phases", "fuzzing", "--generation-deterministic", "--max-examples", str(examples)]
    options += ["--exclude-path-regex", without, "--checks", ",".join(_CHECKS), "--request-timeout", "90"]
    result = subprocess.run(
        [*_RUN, f"{address}/openapi.json", "--header", f"Authorization: Bearer {key}", *options],
        env=clean_environ(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6_000:] + result.stderr[-1_000:]
