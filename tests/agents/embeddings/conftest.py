"""The model, built once for all tests of this folder in a cache folder of their own."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tokenizers import Tokenizer

from agents.embeddings.graph import Precision, build_model
from agents.embeddings.minilm import MiniLmEmbedder, Vectors
from agents.embeddings.model_files import Tensors, WeightFiles

Fp32 = Callable[[Sequence[int]], Vectors]


@pytest.fixture(scope="session")
def weight_files() -> WeightFiles:
    return WeightFiles.find()


@pytest.fixture(scope="session")
def tensors(weight_files: WeightFiles) -> Tensors:
    return weight_files.load()


@pytest.fixture(scope="session")
def tokenizer(weight_files: WeightFiles) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(weight_files.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return tokenizer


@pytest.fixture(scope="session")
def fp32_session(weight_files: WeightFiles, tensors: Tensors) -> onnxruntime.InferenceSession:
    model = build_model(tensors, weight_files.shape(), Precision.FP32)
    return session_of(model)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Run a model on one thread, which does not spin while it waits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="session")
def fp32(fp32_session: onnxruntime.InferenceSession) -> Fp32:
    """The fp32 graph for one text."""

    def run(token_ids: Sequence[int]) -> Vectors:
        ids = np.array([token_ids])
        (vectors,) = fp32_session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        vector: Vectors = vectors[0]
        return vector

    return run


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def loaded_embedder(cache_dir: Path) -> Iterator[MiniLmEmbedder]:
    embedder = MiniLmEmbedder.load(cache_dir)
    yield embedder
    embedder.close()


@pytest.fixture
def embedder(loaded_embedder: MiniLmEmbedder) -> MiniLmEmbedder:
    """The embedder, which remembers no text."""
    loaded_embedder._vector.cache_clear()
    return loaded_embedder
