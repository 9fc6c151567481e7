"""Installs the other gateways, pinned, each in a folder of its own below the user's cache."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LITELLM_VERSION = "1.108.7"
PORTKEY_VERSION = "1.15.2"
#: What it depends on is taken as it was then: it comes without a lock file.
_PORTKEY_RELEASED = "2026-08-24"
_TIMEOUT_S = 900


class NotInstallable(Exception):
    """A gateway cannot be installed here; the message says why."""


def litellm(cache: Path) -> Path:
    """Return the program `litellm` of a virtual environment that has it.

    Raises:
        NotInstallable: uv or the package cannot be had.
    """
    folder = cache / f"litellm-{LITELLM_VERSION}"
    program = folder / "bin" / "litellm"
    if not program.exists():
        uv = [sys.executable, "-m", "uv"]
        _run([*uv, "venv", "--clear", "--python", sys.executable, str(folder)])
        python = str(folder / "bin" / "python")
        _run([*uv, "pip", "install", "--python", python, f"litellm[proxy]=={LITELLM_VERSION}"])
    return program


def portkey(cache: Path) -> tuple[str, Path]:
    """Return Node and the script that starts Portkey's gateway.

    Raises:
        NotInstallable: Node, npm or the package cannot be had.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NotInstallable("there is no Node.js")
    folder = cache / f"portkey-{PORTKEY_VERSION}"
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = [
            "--prefix",
            str(folder),
            f"--before={_PORTKEY_RELEASED}",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ]
        _run([npm, "install", *options, f"@portkey-ai/gateway@{PORTKEY_VERSION}"])
    return node, script


def cache_folder() -> Path:
    """Return where the gateways are kept from one run to the next."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "headrace" / "side-by-side"


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise NotInstallable(str(fault)) from fault
    if done.returncode:
        raise NotInstallable(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()[-500:]}")
