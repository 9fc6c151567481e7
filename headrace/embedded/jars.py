"""Kafka's jars: fetched from Maven Central once by jgo, verified, and found again without a network.

``kafka_jars.lock`` pins every jar with its size and SHA-256. A first start fetches exactly these; any
later one verifies them (0.1 s) and is done, without importing jgo. `scripts/kafka_jars.py`
prints the lock file for a new version.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from headrace.embedded.child import OnProgress
from headrace.embedded.data_dir import exclusive, private_folder
from headrace.embedded.errors import DownloadFailed, ExtraMissing

KAFKA_VERSION = "4.3.0"
"""4.4.0 does not resolve: its POM names an artifact that is not on Maven Central."""

_PARALLEL_DOWNLOADS = 8
_HTTP_TIMEOUT_S = 30  # between two reads, not for a whole jar


@dataclass(frozen=True)
class Jar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """Its name in the cache, as Maven names it."""
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> tuple[Jar, ...]:
    """What ``kafka_jars.lock`` pins, in class path order."""
    text = resources.files(__package__).joinpath("kafka_jars.lock").read_text(encoding="utf-8")
    return tuple(_parse(line) for line in text.splitlines() if line and not line.startswith("#"))


def _parse(line: str) -> Jar:
    coordinate, size_bytes, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, int(size_bytes), sha256)


def default_cache_dir() -> Path:
    """The user's cache folder for Headrace, under ``XDG_CACHE_HOME`` where that is set."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    base = Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache"
    return base / "headrace"


def class_path(cache_dir: Path, on_progress: OnProgress, jars: Sequence[Jar] | None = None) -> list[Path]:
    """Kafka's jars, downloaded if they are not in the cache yet; `jars` None: all of `locked_jars`.

    Safe when several processes do it at once (one downloads, others wait), and when one is killed half way:
    the folder, named after version and lock, gets its final name only when all in it has been verified.
    Raises `DownloadFailed`, `ExtraMissing`, or as `private_folder`.
    """
    jars = locked_jars() if jars is None else jars
    private_folder(cache_dir)
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()
    home = cache_dir / f"kafka-{KAFKA_VERSION}-{digest[:8]}"
    if not _complete(home, jars):
        with exclusive(cache_dir / f"{home.name}.lock"):
            if not _complete(home, jars):  # nobody did it while we waited
                _download(home, jars, on_progress)
    return [home / jar.filename for jar in jars]


def _complete(home: Path, jars: Sequence[Jar]) -> bool:
    return all(_verified(home / jar.filename, jar) for jar in jars)


def _download(home: Path, jars: Sequence[Jar], on_progress: OnProgress) -> None:
    """Fetch into a folder beside the final one, which is kept when it fails half way."""
    unfinished = home.with_name(f"{home.name}.partial")
    flat = unfinished / "jars"
    flat.mkdir(parents=True, exist_ok=True)
    total_mb = sum(jar.size_bytes for jar in jars) / 1e6
    on_progress(f"downloading Apache Kafka {KAFKA_VERSION} ({total_mb:.0f} MB, only this once)")
    fetch = partial(_fetch, _maven(unfinished / "repository"), flat, home.parent)
    done_bytes = 0
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        for number, jar in enumerate(pool.map(fetch, jars), start=1):
            done_bytes += jar.size_bytes
            on_progress(
                f"Apache Kafka {KAFKA_VERSION}: {number} of {len(jars)} jars, {done_bytes / 1e6:.0f} MB"
            )
    if home.exists():  # incomplete: somebody removed files from it
        shutil.rmtree(home)
    flat.rename(home)
    shutil.rmtree(unfinished)


def _fetch(context: Any, folder: Path, cache_dir: Path, jar: Jar) -> Jar:
    target = folder / jar.filename
    if _verified(target, jar):
        return jar
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    # jgo takes any file that is there for the artifact, even half of one: start clean.
    artifact.cached_path.unlink(missing_ok=True)
    try:
        artifact.resolve().rename(target)
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        raise DownloadFailed(jar.filename, str(error), cache_dir) from error
    if not _verified(target, jar):
        target.unlink()
        raise DownloadFailed(jar.filename, "its SHA-256 is not the expected one", cache_dir)
    return jar


def _verified(path: Path, jar: Jar) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256


def _maven(repository: Path) -> Any:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 - an optional extra, and only for a download
    except ImportError as error:
        raise ExtraMissing("Kafka", "jgo") from error
    return MavenContext(repo_cache=repository, timeout=_HTTP_TIMEOUT_S)
