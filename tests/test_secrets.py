"""No key is checked in."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: What keys look like, by who makes them. Those of tests are shorter, or say what they are.
KEYS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}"
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b(?<!EXAMPLE)"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    rb"|\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]*[A-Za-z0-9]{32}\b"
    rb"|\bxox[abprs]-[0-9A-Za-z-]{20}"
    rb"|\bhr-(?:admin-)?(?=[\w-]*[A-Z])(?=[\w-]*[0-9])[\w-]{32}\b"
)


def found_in(data: bytes) -> list[bytes]:
    """Return what looks like a key."""
    return [match.group() for match in KEYS.finditer(data)]


@pytest.mark.parametrize(
    "key",
    [
        b"hr-" + b"EgZ4K4wDgtbDX39DDbcHqjZDoN8" + b"-n-O_",
        b"hr-admin-" + b"LohUIxOfV7a0sGZcmMD6CuPOZYc8ZPce",
        b"AKIA" + b"Q3EGRT5KJHGFDSAZ",
        b"sk-ant-" + b"api03-" + b"a1B2" * 12,
        b"ghp_" + b"a1B2" * 9,
    ],
)
def test_a_key_is_recognised(key: bytes) -> None:
    """Ours, and those of others."""
    assert found_in(b'key = "' + key + b'"')


def test_no_key_is_checked_in() -> None:
    """Whatever git knows of."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60, check=True)
    files = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    found = {str(file): found_in(file.read_bytes()) for file in files if file.is_file()}
    assert not {file: keys for file, keys in found.items() if keys}
