"""The sentence encoder in plain numpy: the oracle that the ONNX graph is checked against.

Written from the description of BERT (Devlin et al., 2018), one text at a time, without a mask.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agents.embeddings.model_files import BertShape, Tensors

Matrix = npt.NDArray[np.float32]


def _erf(x: Matrix) -> Matrix:
    """Abramowitz and Stegun, 7.1.26: within 1.5e-7."""
    t = 1.0 / (1.0 + 0.3275911 * np.abs(x))
    terms = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    value: Matrix = np.sign(x) * (1.0 - terms * np.exp(-x * x))
    return value


def encode(tensors: Tensors, shape: BertShape, token_ids: Sequence[int]) -> Matrix:
    """Return the unit vector of one text, given its tokens with [CLS] and [SEP]."""
    states = tensors["embeddings.word_embeddings.weight"][list(token_ids)]
    states = states + tensors["embeddings.position_embeddings.weight"][: len(token_ids)]
    states = states + tensors["embeddings.token_type_embeddings.weight"][0]
    states = _norm(tensors, shape, "embeddings.LayerNorm", states)
    for index in range(shape.layers):
        states = _layer(tensors, shape, f"encoder.layer.{index}", states)
    mean = states.mean(axis=0)
    unit: Matrix = mean / np.linalg.norm(mean)
    return unit


def _layer(tensors: Tensors, shape: BertShape, name: str, states: Matrix) -> Matrix:
    attended = _dense(tensors, f"{name}.attention.output.dense", _attention(tensors, shape, name, states))
    states = _norm(tensors, shape, f"{name}.attention.output.LayerNorm", states + attended)
    inner = _dense(tensors, f"{name}.intermediate.dense", states)
    inner = inner * (0.5 * (1.0 + _erf(inner / np.sqrt(2.0))))
    outer = _dense(tensors, f"{name}.output.dense", inner)
    return _norm(tensors, shape, f"{name}.output.LayerNorm", states + outer)


def _attention(tensors: Tensors, shape: BertShape, name: str, states: Matrix) -> Matrix:
    query, key, value = (
        _dense(tensors, f"{name}.attention.self.{part}", states) for part in ("query", "key", "value")
    )
    width = shape.hidden // shape.heads
    heads = []
    for start in range(0, shape.hidden, width):
        part = slice(start, start + width)
        scores = query[:, part] @ key[:, part].T / np.sqrt(width)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ value[:, part])
    return np.concatenate(heads, axis=1)


def _dense(tensors: Tensors, name: str, states: Matrix) -> Matrix:
    return states @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def _norm(tensors: Tensors, shape: BertShape, name: str, states: Matrix) -> Matrix:
    centred = states - states.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + shape.layer_norm_epsilon)
    scaled: Matrix = centred / deviation * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
    return scaled
