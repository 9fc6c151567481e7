"""The sentence encoder as an ONNX graph: BERT, masked mean pooling, L2 normalisation.

Inputs `input_ids` and `attention_mask`, both `(batch, tokens)` int64; output `embedding`,
`(batch, hidden)` float32. In fp32 it is all-MiniLM-L6-v2 as sentence-transformers runs it. In int8 each
weight matrix has one scale per output column, and activations are quantised at run time with one scale
per tensor (ONNX Runtime's dynamic quantisation), hence one per *batch*: run one text at a time where an
embedding must not depend on its neighbours.

The source of this module is part of the cached model's version: any change here builds a new file.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from agents.embeddings.weights import BertShape, Tensors

# Gelu is an operator of its own since opset 20, LayerNormalization since 17.
_OPSET = 20
_IR_VERSION = 10
# Added to the scores of masked tokens; far below any real score, far from float32's limit.
_MASKED_SCORE = -1e9
# sentence-transformers' own guards against division by zero.
_MIN_TOKENS = 1e-9
_MIN_NORM = 1e-12
_INT8_MAX = 127


class Precision(StrEnum):
    """How the weights are stored and multiplied."""

    FP32 = "fp32"
    INT8 = "int8"


@dataclass
class _Graph:
    """Collects nodes and constants; every method returns the name of the tensor it made."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.op_many(kind, *inputs, outputs=1, **attributes)[0]

    def op_many(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        names = [f"{kind.lower()}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def floats(self, value: npt.ArrayLike) -> str:
        return self.constant(value, np.float32)

    def ints(self, value: npt.ArrayLike) -> str:
        return self.constant(value, np.int64)


def quantise_columns(
    matrix: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return symmetric int8 values and one scale per column, so that `values * scales ≈ matrix`."""
    largest = np.abs(matrix).max(axis=0)
    scales = np.where(largest > 0, largest / _INT8_MAX, 1.0).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


@dataclass
class _Encoder:
    """Emits the layers of one encoder into a graph."""

    graph: _Graph
    tensors: Tensors
    shape: BertShape
    precision: Precision

    def embeddings(self, input_ids: str) -> str:
        """Sum the word, position and (first) type embeddings, and normalise."""
        graph, tensors = self.graph, self.tensors
        # One text is one segment: its type embedding is a constant, added to the positions beforehand.
        positions = (
            tensors["embeddings.position_embeddings.weight"]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        words = self._words(input_ids)
        length = graph.op("Shape", input_ids, start=1, end=2)
        taken = graph.op("Slice", graph.floats(positions), graph.ints([0]), length, graph.ints([0]))
        return self._norm(graph.op("Add", words, taken), "embeddings.LayerNorm")

    def layer(self, hidden: str, score_bias: str, index: int) -> str:
        """One transformer layer: self-attention and feed-forward, each with residual and norm."""
        prefix = f"encoder.layer.{index}"
        attended = self._linear(
            self._attention(hidden, score_bias, f"{prefix}.attention.self"),
            *self._dense(f"{prefix}.attention.output.dense"),
        )
        hidden = self._norm(
            self.graph.op("Add", attended, hidden), f"{prefix}.attention.output.LayerNorm"
        )
        inner = self.graph.op("Gelu", self._linear(hidden, *self._dense(f"{prefix}.intermediate.dense")))
        outer = self._linear(inner, *self._dense(f"{prefix}.output.dense"))
        return self._norm(self.graph.op("Add", outer, hidden), f"{prefix}.output.LayerNorm")

    def _words(self, input_ids: str) -> str:
        table = self.tensors["embeddings.word_embeddings.weight"]
        if self.precision is Precision.FP32:
            return self.graph.op("Gather", self.graph.floats(table), input_ids)
        # One scale per word: a quarter of the memory of the model's largest tensor.
        values, scales = quantise_columns(table.T)
        rows = self.graph.op("Gather", self.graph.constant(values.T, np.int8), input_ids)
        row_scales = self.graph.op("Gather", self.graph.floats(scales[:, None]), input_ids)
        return self.graph.op("Mul", self.graph.op("Cast", rows, to=TensorProto.FLOAT), row_scales)

    def _attention(self, hidden: str, score_bias: str, prefix: str) -> str:
        """Scaled dot-product attention of all heads, concatenated."""
        graph = self.graph
        # One multiplication makes queries, keys and values; 1/sqrt(width) is folded into the queries.
        parts = [self._dense(f"{prefix}.{name}") for name in ("query", "key", "value")]
        scale = np.float32(self.shape.head_width**-0.5)
        parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
        joined = self._linear(
            hidden, np.concatenate([part[0] for part in parts], axis=1), np.concatenate([p[1] for p in parts])
        )
        query, key, value = graph.op_many("Split", joined, outputs=3, axis=2, num_outputs=3)
        scores = graph.op("MatMul", self._heads(query), self._heads(key, transposed=True))
        weights = graph.op("Softmax", graph.op("Add", scores, score_bias), axis=-1)
        context = graph.op("MatMul", weights, self._heads(value))
        side_by_side = graph.op("Transpose", context, perm=[0, 2, 1, 3])
        return graph.op("Reshape", side_by_side, graph.ints([0, 0, self.shape.hidden]))

    def _heads(self, states: str, *, transposed: bool = False) -> str:
        """Split `(batch, tokens, hidden)` into `(batch, head, tokens, width)`, or its transpose."""
        split = self.graph.ints([0, 0, self.shape.heads, self.shape.head_width])
        order = [0, 2, 3, 1] if transposed else [0, 2, 1, 3]
        return self.graph.op("Transpose", self.graph.op("Reshape", states, split), perm=order)

    def _dense(self, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return matrix (inputs x outputs) and bias; torch stores the matrix transposed."""
        return self.tensors[f"{name}.weight"].T, self.tensors[f"{name}.bias"]

    def _linear(
        self, states: str, matrix: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> str:
        graph = self.graph
        if self.precision is Precision.FP32:
            return graph.op("Add", graph.op("MatMul", states, graph.floats(matrix)), graph.floats(bias))
        # In this order of operators ONNX Runtime fuses the six into one integer kernel.
        values, scales = quantise_columns(matrix)
        levels, level_size, zero = graph.op_many("DynamicQuantizeLinear", states, outputs=3)
        product = graph.op(
            "MatMulInteger", levels, graph.constant(values, np.int8), zero, graph.constant(0, np.int8)
        )
        size = graph.op("Mul", level_size, graph.floats(scales))
        scaled = graph.op("Mul", graph.op("Cast", product, to=TensorProto.FLOAT), size)
        return graph.op("Add", scaled, graph.floats(bias))

    def _norm(self, states: str, name: str) -> str:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return self.graph.op(
            "LayerNormalization",
            states,
            self.graph.floats(weight),
            self.graph.floats(bias),
            axis=-1,
            epsilon=self.shape.layer_norm_epsilon,
        )


def _score_bias(graph: _Graph, attention_mask: str) -> str:
    """Zero for tokens and `_MASKED_SCORE` for padding, `(batch, 1, 1, tokens)`."""
    padding = graph.op("Cast", graph.op("Sub", graph.ints(1), attention_mask), to=TensorProto.FLOAT)
    bias = graph.op("Mul", padding, graph.floats(_MASKED_SCORE))
    return graph.op("Unsqueeze", bias, graph.ints([1, 2]))


def _pooled(graph: _Graph, hidden: str, attention_mask: str) -> str:
    """Mean of the tokens that are not padding, divided by its length."""
    mask = graph.op("Cast", graph.op("Unsqueeze", attention_mask, graph.ints([2])), to=TensorProto.FLOAT)
    axis = graph.ints([1])
    total = graph.op("ReduceSum", graph.op("Mul", hidden, mask), axis, keepdims=0)
    tokens = graph.op("Max", graph.op("ReduceSum", mask, axis, keepdims=0), graph.floats(_MIN_TOKENS))
    mean = graph.op("Div", total, tokens)
    norm = graph.op("ReduceL2", mean, axis, keepdims=1)
    return graph.op("Div", mean, graph.op("Max", norm, graph.floats(_MIN_NORM)))


def build_model(tensors: Tensors, shape: BertShape, precision: Precision) -> onnx.ModelProto:
    """Build the checked ONNX model of the encoder with its weights inside.

    Args:
        tensors: the checkpoint, by tensor name.
        shape: the encoder's shape; `tensors` must have that many layers.
        precision: fp32 reproduces the original, int8 is what runs in production.
    """
    graph = _Graph()
    encoder = _Encoder(graph=graph, tensors=tensors, shape=shape, precision=precision)
    bias = _score_bias(graph, "attention_mask")
    hidden = encoder.embeddings("input_ids")
    for index in range(shape.layers):
        hidden = encoder.layer(hidden, bias, index)
    pooled = _pooled(graph, hidden, "attention_mask")
    graph.nodes.append(helper.make_node("Identity", [pooled], ["embedding"]))
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", shape.hidden])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "sentence-encoder", ids, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="headrace",
    )
    onnx.checker.check_model(model)
    return model
