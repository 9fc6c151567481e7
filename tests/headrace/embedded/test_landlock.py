"""What a confined process can still do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.embedded.clickhouse import confinement

CODE = """
import os, socket, subprocess, sys
from pathlib import Path
from headrace.embedded.clickhouse.confinement import confine

root, parent = Path(sys.argv[1]), int(sys.argv[2])
with socket.create_server(("127.0.0.1", 0)) as server:
    assert confine(writable=[root / "own"], readable=[root / "shown", root / "missing"])

    def tries(deed):
        try:
            deed()
        except PermissionError:
            return "refused"
        return "done"

    print(tries(lambda: (root / "own" / "new").write_text("x")))
    print(tries(lambda: (root / "shown" / "file").read_text()))
    print(tries(lambda: (root / "shown" / "file").write_text("x")))
    print(tries(lambda: (root / "hidden").read_text()))
    print(tries(lambda: subprocess.run(["/bin/true"])))
    print(tries(lambda: socket.create_connection(server.getsockname(), 5)))
    print(tries(lambda: Path(f"/proc/{parent}/environ").read_bytes()))
    print(tries(lambda: os.kill(parent, 0)))
"""


@pytest.mark.skipif(confinement.landlock_version() < 6, reason="this kernel's Landlock knows no signals yet")
def test_a_confined_process_keeps_what_it_was_left(tmp_path: Path) -> None:
    """Its folders; no other file, no program, no connection, no look at other processes, no signal."""
    for name in ("own", "shown"):
        (tmp_path / name).mkdir()
    for name in ("shown/file", "hidden"):
        (tmp_path / name).write_text("text")
    command = [sys.executable, "-c", CODE, str(tmp_path), str(os.getpid())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.split() == ["done", "done", *["refused"] * 6], ended.stderr


def test_a_kernel_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The caller learns it, and nothing is confined."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert confinement.landlock_version() == 0
    assert not confinement.confine(writable=[], readable=[])
    assert (tmp_path / "file").write_text("x") == 1
