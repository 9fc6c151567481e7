"""The built int8 model as a file in the user's cache folder: built once a machine, then only read."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from agents.embeddings.weights import WeightFiles
from streams.errors import ConfigurationError

MODEL_NAME = "all-MiniLM-L6-v2-int8"

# Read as text, not imported: they import onnx, which a worker that finds the model built does not need.
_BUILDER_SOURCES = ("emitter.py", "int8.py", "graph.py")
_VERSION_LENGTH = 12


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return `headrace/models` in the user's cache folder, as the XDG Base Directory specification says."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    # The specification: relative paths are invalid and to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "headrace" / "models"


def model_version(files: WeightFiles) -> str:
    """Return a short hash of everything the vectors depend on: weights, tokenizer and builder."""
    digest = hashlib.sha256(files.digest().encode())
    for source in _BUILDER_SOURCES:
        digest.update(resources.files(__package__).joinpath(source).read_bytes())
    return digest.hexdigest()[:_VERSION_LENGTH]


def find_or_build(files: WeightFiles, cache_dir: Path) -> Path:
    """Return the file of the model for these weights, building it (in a second) where it is not cached.

    Several processes may do this at once: each writes a file of its own and renames it into place, and
    since all build the same bytes it does not matter who is last.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    path = cache_dir / f"{MODEL_NAME}-{model_version(files)}.onnx"
    if not path.is_file():
        _write_atomically(path, _build(files))
    return path


def _build(files: WeightFiles) -> bytes:
    from agents.embeddings.graph import Precision, build_model  # noqa: PLC0415 - imports onnx, see above

    content: bytes = build_model(files.load(), files.shape(), Precision.INT8).SerializeToString()
    return content


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
