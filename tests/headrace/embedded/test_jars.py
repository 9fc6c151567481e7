import hashlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.embedded.errors import DownloadFailed, ExtraMissing
from headrace.embedded.jars import KAFKA_VERSION, Jar, class_path, default_cache_dir, locked_jars

CLOSED = "http://127.0.0.1:1"  # a proxy that is not there: the network is down


def silent(_message: str) -> None:
    """Nobody looks."""


def small_jars(count: int = 2) -> list[Jar]:
    """The smallest of the real ones, so that a test fetches kilobytes."""
    return sorted(locked_jars(), key=lambda jar: jar.size_bytes)[:count]


def fill(cache_dir: Path, jars: list[Jar]) -> list[Jar]:
    """Put files where a download would, and return the lock that describes them."""
    made = []
    for number, jar in enumerate(jars):
        content = b"x" * (number + 1)
        made.append(replace(jar, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()))
    digest = hashlib.sha256("".join(jar.sha256 for jar in made).encode()).hexdigest()[:8]
    home = cache_dir / f"kafka-{KAFKA_VERSION}-{digest}"
    home.mkdir(parents=True)
    for jar in made:
        (home / jar.filename).write_bytes(b"x" * jar.size_bytes)
    return made


def test_the_lock_pins_one_version_of_everything_kafka_needs() -> None:
    """Kafka's own jars have its version, the log bridge is there, and no artifact comes twice."""
    jars = locked_jars()
    own = [jar for jar in jars if jar.group == "org.apache.kafka"]
    assert {jar.version for jar in own} == {KAFKA_VERSION}
    assert {"kafka_2.13", "kafka-clients", "kafka-server"} <= {jar.artifact for jar in own}
    assert "log4j-slf4j-impl" in {jar.artifact for jar in jars}
    assert len({(jar.group, jar.artifact) for jar in jars}) == len(jars)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) and jar.size_bytes > 0 for jar in jars)


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME moves it; a relative one is ignored, as the specification asks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "headrace"
    for nothing in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", nothing)
        assert default_cache_dir() == Path.home() / ".cache" / "headrace"


def test_what_is_cached_needs_neither_network_nor_jgo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A later start looks at files only, and says nothing."""
    jars = fill(tmp_path, small_jars())
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    monkeypatch.setenv("HTTPS_PROXY", CLOSED)
    said: list[str] = []
    paths = class_path(tmp_path, said.append, jars)
    assert [path.name for path in paths] == [jar.filename for jar in jars]
    assert all(path.is_file() for path in paths)
    assert said == []


def test_without_jgo_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user learns what to install."""
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'headrace\[embedded\]'"):
        class_path(tmp_path, silent, small_jars())


def test_without_a_network_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network on the first start: what was wanted, where to, and what else the user can do."""
    monkeypatch.setenv("HTTPS_PROXY", CLOSED)
    with pytest.raises(DownloadFailed, match="HEADRACE_KAFKA_BOOTSTRAP") as caught:
        class_path(tmp_path, silent, small_jars())
    assert str(tmp_path) in str(caught.value)


@pytest.mark.integration
def test_a_download_is_verified_and_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fetched once with progress, then there without a network; a jar that is gone is fetched again."""
    jars, said = small_jars(), list[str]()
    paths = class_path(tmp_path, said.append, jars)
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] == [jar.sha256 for jar in jars]
    assert said[0].startswith(f"downloading Apache Kafka {KAFKA_VERSION}")
    assert "2 of 2 jars" in said[-1]
    assert not list(tmp_path.glob("*.partial"))

    paths[0].unlink()
    class_path(tmp_path, silent, jars)
    assert paths[0].is_file()

    monkeypatch.setenv("HTTPS_PROXY", CLOSED)
    assert class_path(tmp_path, said.append, jars) == paths


@pytest.mark.integration
def test_a_jar_that_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    """A wrong SHA-256 never reaches the class path, and a second try does not trust it either."""
    good, bad = small_jars()
    jars = [good, replace(bad, sha256="0" * 64)]
    for _ in range(2):
        with pytest.raises(DownloadFailed, match=f"{bad.filename}: its SHA-256 is not the expected"):
            class_path(tmp_path, silent, jars)
    assert not list(tmp_path.glob("kafka-*/" + bad.filename))


@pytest.mark.integration
def test_a_download_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    """Half a jar left by a killed process is not taken for a whole one."""
    jars = small_jars()
    with pytest.raises(DownloadFailed):
        class_path(tmp_path, silent, [jars[0], replace(jars[1], sha256="0" * 64)])
    (partial,) = tmp_path.glob("*.partial")
    for kept in partial.rglob("*.jar"):
        kept.write_bytes(b"half")
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()[:8]
    partial.rename(tmp_path / f"kafka-{KAFKA_VERSION}-{digest}.partial")
    paths = class_path(tmp_path, silent, jars)
    assert [path.stat().st_size for path in paths] == [jar.size_bytes for jar in jars]


@pytest.mark.integration
def test_two_that_start_at_once_download_once(tmp_path: Path) -> None:
    """The second waits for the first and finds everything there."""
    jars, said = small_jars(), list[str]()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: class_path(tmp_path, said.append, jars), range(4)))
    assert found == [found[0]] * 4
    assert len([message for message in said if message.startswith("downloading")]) == 1
