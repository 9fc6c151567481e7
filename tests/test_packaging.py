"""The wheel that users install."""

import email
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = {"streams", "ingest", "agents", "analytics", "headrace"}
#: Distributions whose import names are `agents` and `analytics`, as two of ours are.
CLASHING = {"openai-agents", "analytics-python", "segment-analytics-python", "segment"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


def names(wheel: zipfile.ZipFile) -> set[str]:
    return set(wheel.namelist())


def info(wheel: zipfile.ZipFile, file: str) -> str:
    (name,) = (each for each in wheel.namelist() if each.endswith(f".dist-info/{file}"))
    return wheel.read(name).decode()


def metadata(wheel: zipfile.ZipFile) -> Message:
    return email.message_from_string(info(wheel, "METADATA"))


def test_only_our_packages_are_in_it(wheel: zipfile.ZipFile) -> None:
    """No tests, benchmarks or scripts at the top level of somebody's site-packages."""
    top = {name.split("/")[0] for name in names(wheel)}
    assert {each for each in top if not each.endswith(".dist-info")} == PACKAGES


def test_every_source_file_is_in_it(wheel: zipfile.ZipFile) -> None:
    """Code and what it reads at run time: SQL, the lock of the Kafka jars, type markers, pages."""
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert wanted <= names(wheel)
    assert "headrace/embedded/kafka_jars.lock" in wanted
    assert any(name.startswith("analytics/schema/migrations/") and name.endswith(".sql") for name in wanted)
    assert any(name.startswith("analytics/reports/queries/") and name.endswith(".sql") for name in wanted)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_says_that_it_is_typed(wheel: zipfile.ZipFile, package: str) -> None:
    """Or type checkers ignore its annotations."""
    assert f"{package}/py.typed" in names(wheel)


def test_nothing_it_needs_shadows_our_packages(wheel: zipfile.ZipFile) -> None:
    """Two distributions with one import name overwrite each other's files."""
    required = [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
    assert len(required) > 10
    found = {canonicalize_name(each.name) for each in required}
    assert not found & CLASHING
    assert not any("segment" in name for name in found)


def test_the_command_is_there(wheel: zipfile.ZipFile) -> None:
    """And leads to something that can be called."""
    scripts = ConfigParser()
    scripts.read_string(info(wheel, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"headrace": "headrace.cli:main"}
    from headrace import cli

    assert callable(cli.main)


def test_the_metadata_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    """Name, licence and the Python that it needs, and both extras."""
    about = metadata(wheel)
    assert (about["Name"], about["License-Expression"]) == ("headrace", "Apache-2.0")
    assert about["Requires-Python"] == ">=3.11"
    assert set(about.get_all("Provides-Extra", [])) >= {"embedded", "embeddings"}
    assert any(name.endswith("/licenses/LICENSE") for name in names(wheel))


def test_each_build_is_the_same(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Byte for byte, so that a release can be checked against its source."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=120, check=True)
    (again,) = tmp_path.glob("*.whl")
    assert wheel.filename is not None
    assert again.read_bytes() == Path(wheel.filename).read_bytes()
