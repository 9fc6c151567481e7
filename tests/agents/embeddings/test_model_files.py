"""The model in the user's cache folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents.embeddings import model_files
from agents.embeddings.model_files import WeightFiles, default_cache_dir, find_or_build, model_version
from streams.errors import ConfigurationError

BUILD = (
    "import sys; from pathlib import Path\n"
    "from agents.embeddings import model_files\n"
    "from agents.embeddings.model_files import WeightFiles\n"
    "model_files._graph = model_files._static_table = lambda files: bytes(30_000_000)\n"
    "sys.stdin.readline()\n"
    "print(model_files.find_or_build(WeightFiles.find(), Path(sys.argv[1])).graph)"
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that costs nothing."""
    for build in ("_graph", "_static_table"):
        monkeypatch.setattr(model_files, build, lambda _files: b"a model")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CACHE_HOME": "/var/cache/me"}, Path("/var/cache/me/headrace/models")),
        ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache/headrace/models"),
        ({"XDG_CACHE_HOME": ""}, Path.home() / ".cache/headrace/models"),
        ({}, Path.home() / ".cache/headrace/models"),
    ],
)
def test_default_folder_follows_xdg(environ: dict[str, str], expected: Path) -> None:
    """The folder is XDG_CACHE_HOME's where that is absolute, else ~/.cache."""
    assert default_cache_dir(environ) == expected


@pytest.mark.usefixtures("quick")
def test_a_built_model_is_used_again(weight_files: WeightFiles, tmp_path: Path) -> None:
    """The second call finds the files of the first and does not write."""
    first = find_or_build(weight_files, tmp_path / "new" / "folder")
    written = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in (first.graph, first.static_table)]
    second = find_or_build(weight_files, tmp_path / "new" / "folder")
    assert second == first
    assert [
        (path.stat().st_ino, path.stat().st_mtime_ns) for path in (first.graph, first.static_table)
    ] == written


def test_version_depends_on_tokenizer_and_weights(weight_files: WeightFiles, tmp_path: Path) -> None:
    """Any other file of the model is another version, so old vectors are never compared with new ones."""
    (tmp_path / "model").mkdir()
    copy = WeightFiles(folder=tmp_path / "model")
    for path in (weight_files.config, weight_files.tokenizer, weight_files.tensors):
        shutil.copy(path, copy.folder)
    assert model_version(copy) == model_version(weight_files)
    for path in (copy.tokenizer, copy.tensors):
        before = model_version(copy)
        with path.open("ab") as stream:
            stream.write(b" ")
        assert model_version(copy) != before


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    """Both succeed; the two whole files are left, and nothing else."""
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("go\n")
        builder.stdin.flush()
    outputs = [builder.communicate(timeout=60)[0].strip() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    table, graph = sorted(tmp_path.iterdir())
    assert outputs == [str(graph)] * 2
    assert (table.suffix, graph.suffix) == (".npy", ".onnx")
    assert table.read_bytes() == graph.read_bytes() == bytes(30_000_000)


def test_every_build_is_the_same(
    weight_files: WeightFiles, cache_dir: Path, embedder: object, tmp_path: Path
) -> None:
    """To the byte: so it does not matter which of several processes was last."""
    del embedder  # it has built the one in the cache folder
    find_or_build(weight_files, tmp_path)
    references, built = sorted(cache_dir.iterdir()), sorted(tmp_path.iterdir())
    assert [path.name for path in built] == [path.name for path in references]
    assert [path.read_bytes() for path in built] == [path.read_bytes() for path in references]


@pytest.mark.usefixtures("quick")
def test_an_unusable_folder_says_what_to_set(weight_files: WeightFiles, tmp_path: Path) -> None:
    """A cache that cannot be a folder is a configuration error that names the variable."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="XDG_CACHE_HOME"):
        find_or_build(weight_files, tmp_path / "file" / "models")


@pytest.mark.usefixtures("quick")
def test_a_failed_write_leaves_nothing_behind(weight_files: WeightFiles, tmp_path: Path) -> None:
    """When the file cannot be put in its place, the temporary one goes too."""
    name = find_or_build(weight_files, tmp_path / "good").graph.name
    (tmp_path / "bad" / name).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be cached"):
        find_or_build(weight_files, tmp_path / "bad")
    assert [path.name for path in (tmp_path / "bad").iterdir()] == [name]
