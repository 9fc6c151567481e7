"""Kafka's jars: fetched from Maven Central once by jgo, verified, and found again without a network.

``kafka_jars.lock`` pins every jar with its size and SHA-256. A first start fetches exactly these; any
later one verifies them (0.1 s) and is done, without importing jgo. `scripts/kafka_jars.py`
prints the lock file for a new version.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from headrace.embedded.child import OnProgress
from headrace.embedded.data_dir import exclusive
from headrace.embedded.errors import DownloadFailed, ExtraMissing
from headrace.embedded.private_files import private_folder

KAFKA_VERSION = "4.3.0"
"""4.4.0 does not resolve: its POM names an artifact that is not on Maven Central."""

_PARALLEL_DOWNLOADS = 8
_HTTP_TIMEOUT_S = 30  # between two reads, not for a whole jar


@dataclass(frozen=True, kw_only=True)
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


def default_cache_dir() -> Path:
    """The user's cache folder for Headrace, under ``XDG_CACHE_HOME`` where that is set."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    base = Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache"
    return base / "headrace"


def class_path(cache_dir: Path, on_progress: OnProgress, jars: Sequence[Jar] | None = None) -> list[Path]:
    """Kafka's jars, downloaded if they are not in the cache yet.

    Safe when several processes do it at once (one downloads, the others wait), and when one is killed
    half way: the folder gets its final name only when all in it has been verified.

    Args:
        cache_dir: Where to keep them, in a folder named after the version and the lock's content.
        on_progress: Told what is going on while it downloads.
        jars: What to fetch. None: all of `locked_jars`.

    Raises:
        DownloadFailed: No network, or a jar that is not what the lock says.
        NotPrivate: The folder belongs to another user, who could plant a jar.
        ExtraMissing: jgo is needed and not installed.
    """
    jars = locked_jars() if jars is None else jars
    private_folder(cache_dir)
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()
    home = cache_dir / f"kafka-{KAFKA_VERSION}-{digest[:8]}"
    if not _complete(home, jars):
        with exclusive(cache_dir / f"{home.name}.lock"):
            if not _complete(home, jars):  # nobody did it while we waited
                _Download(home, jars, on_progress).run()
    return [home / jar.filename for jar in jars]


def _complete(home: Path, jars: Sequence[Jar]) -> bool:
    return all(_verified(home / jar.filename, jar) for jar in jars)


@dataclass
class _Download:
    home: Path
    jars: Sequence[Jar]
    on_progress: OnProgress
    _done_bytes: int = 0
    _done_jars: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Fetch into a folder beside the final one, which is kept when it fails half way."""
        partial = self.home.with_name(f"{self.home.name}.partial")
        total_mb = sum(jar.size_bytes for jar in self.jars) / 1e6
        self.on_progress(f"downloading Apache Kafka {KAFKA_VERSION} ({total_mb:.0f} MB, only this once)")
        context = _maven(partial / "repository")
        flat = partial / "jars"
        flat.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
            for _ in pool.map(lambda jar: self._fetch(context, jar, flat), self.jars):
                pass
        if self.home.exists():  # incomplete: somebody removed files from it
            shutil.rmtree(self.home)
        flat.rename(self.home)
        shutil.rmtree(partial)

    def _fetch(self, context: Any, jar: Jar, flat: Path) -> None:
        target = flat / jar.filename
        if not _verified(target, jar):
            artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
            # jgo takes any file that is there for the artifact, even half of one: start clean.
            artifact.cached_path.unlink(missing_ok=True)
            try:
                artifact.resolve().rename(target)
            except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
                raise DownloadFailed(jar.filename, str(error), self.home.parent) from error
            if not _verified(target, jar):
                target.unlink()
                raise DownloadFailed(jar.filename, "its SHA-256 is not the expected one", self.home.parent)
        with self._lock:
            self._done_jars += 1
            self._done_bytes += jar.size_bytes
            self.on_progress(
                f"Apache Kafka {KAFKA_VERSION}: {self._done_jars} of {len(self.jars)} jars, "
                f"{self._done_bytes / 1e6:.0f} MB"
            )


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


def _parse(line: str) -> Jar:
    coordinate, size_bytes, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group=group, artifact=artifact, version=version, size_bytes=int(size_bytes), sha256=sha256)
