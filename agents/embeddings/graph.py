"""The sentence encoder as an ONNX graph: BERT, masked mean pooling, L2 normalisation.

Inputs `input_ids` and `attention_mask`, both `(batch, tokens)` int64; output `embedding`, `(batch, hidden)`
float32. In fp32 it is all-MiniLM-L6-v2 as sentence-transformers runs it; int8 is its production form. Inside,
the tokens of all texts lie below each other, `(batch * tokens, hidden)`.

In int8, weights have one scale per output column, activations one scale and offset **per token**. Dynamic
quantisation as ONNX Runtime's own tool does it takes one scale per tensor: the vector of a text would then
depend on the texts beside it, and the cosine to fp32 is .995 where per token it is .999 (200 QQP questions).

The source of this module is part of the cached model's version: any change here builds a new file.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from agents.embeddings.model_files import BertShape, Tensors

Matrix = npt.NDArray[np.float32]

_WEIGHT_MAX = 127
_ACTIVATION_MAX = 255
# Keeps a token whose values are all equal from dividing by zero.
_MIN_STEP = 1e-12


@dataclass(frozen=True)
class Emitter:
    """A graph under construction. Every method returns the name of the tensor it made."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Emit an operator with one output."""
        return self.op_many(kind, *inputs, outputs=1, **attributes)[0]

    def op_many(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Emit an operator with several outputs."""
        names = [f"{kind.lower()}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def cast_float(self, tensor: str) -> str:
        """Emit a conversion to float32."""
        return self.op("Cast", tensor, to=TensorProto.FLOAT)

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Store an array in the model."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def floats(self, value: npt.ArrayLike) -> str:
        """Store an array as float32."""
        return self.constant(value, np.float32)

    def ints(self, value: npt.ArrayLike) -> str:
        """Store an array as int64, which is what ONNX uses for shapes and axes."""
        return self.constant(value, np.int64)


def quantise_columns(matrix: Matrix) -> tuple[npt.NDArray[np.int8], Matrix]:
    """Return symmetric int8 values and one scale per column, so that `values * scales ≈ matrix`.

    x86 processors without VNNI multiply by `vpmaddubsw`, which adds the products of two neighbouring rows
    in 16 bits and **saturates**. Scales by the largest weight alone overflow it with our activations: the
    cosine to fp32 falls from .999 to .96 (simulated). So two neighbours of one sign never add up to more
    than 128 here (255 x 128 < 2**15), which costs .0001 of cosine.
    """
    pairs = matrix.reshape(matrix.shape[0] // 2, 2, matrix.shape[1])
    upwards, downwards = np.maximum(pairs, 0).sum(axis=1), np.maximum(-pairs, 0).sum(axis=1)
    largest = np.maximum(upwards, downwards).max(axis=0)
    scales = np.where(largest > 0, largest / _WEIGHT_MAX, 1.0).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


def quantise_rows(table: Matrix) -> tuple[npt.NDArray[np.int8], Matrix]:
    """Return symmetric int8 values and one scale per row, `(rows, 1)`, of a table that is only looked up."""
    largest = np.abs(table).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest / _WEIGHT_MAX, 1.0).astype(np.float32)
    return np.rint(table / scales).astype(np.int8), scales


def emit_linear(graph: Emitter, states: str, matrix: Matrix, bias: Matrix) -> str:
    """Emit `states @ matrix + bias` for `(tokens, inputs)` states.

    With x = lowest + step * level per token and w = scale * value per column:
    x·w = step * scale * (level·value) + lowest * Σw, where only level·value is large, and it is integer.
    """
    values, scales = quantise_columns(matrix)
    axis = graph.ints([1])
    lowest = graph.op("ReduceMin", states, axis, keepdims=1)
    spread = graph.op("Sub", graph.op("ReduceMax", states, axis, keepdims=1), lowest)
    step = graph.op("Mul", spread, graph.floats(1 / _ACTIVATION_MAX))
    step = graph.op("Max", step, graph.floats(_MIN_STEP))
    above = graph.op("Sub", states, lowest)
    levels = graph.op("QuantizeLinear", above, graph.op("Squeeze", step, axis), axis=0)
    product = graph.cast_float(graph.op("MatMulInteger", levels, graph.constant(values, np.int8)))
    scaled = graph.op("Mul", graph.op("Mul", product, step), graph.floats(scales))
    offset = graph.op("Mul", lowest, graph.floats((values * scales).sum(axis=0)))
    return graph.op("Add", scaled, graph.op("Add", offset, graph.floats(bias)))


def emit_lookup(graph: Emitter, table: Matrix, rows: str) -> str:
    """Emit `table[rows]` with the table in int8: a quarter of the memory of the model's largest tensor."""
    values, scales = quantise_rows(table)
    levels = graph.cast_float(graph.op("Gather", graph.constant(values, np.int8), rows))
    return graph.op("Mul", levels, graph.op("Gather", graph.floats(scales), rows))


INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
EMBEDDING = "embedding"

# Gelu is an operator of its own since opset 20, LayerNormalization since 17.
_OPSET = 20
_IR_VERSION = 10
# Added to the scores of masked tokens; far below any real score, far from float32's limit.
_MASKED_SCORE = -1e9
# sentence-transformers' own guards against division by zero.
_MIN_TOKENS = 1e-9
_MIN_NORM = 1e-12


class Precision(StrEnum):
    """How the weights are stored and multiplied: fp32 reproduces the original, int8 runs in production."""

    FP32 = "fp32"
    INT8 = "int8"


@dataclass(frozen=True, kw_only=True)
class _Encoder:
    """Emits the layers of one encoder into a graph."""

    graph: Emitter
    tensors: Tensors
    shape: BertShape
    precision: Precision
    text_shape: str

    def embeddings(self) -> str:
        """Sum the word, position and (first) type embeddings, and normalise."""
        graph, tensors = self.graph, self.tensors
        # One text is one segment: its type embedding is a constant, added to the positions beforehand.
        positions = (
            tensors["embeddings.position_embeddings.weight"]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        length = graph.op("Shape", INPUT_IDS, start=1, end=2)
        used = graph.op("Slice", graph.floats(positions), graph.ints([0]), length, graph.ints([0]))
        total = graph.op("Add", self._words(), used)
        flat = graph.op("Reshape", total, graph.ints([-1, self.shape.hidden]))
        return self._norm(flat, "embeddings.LayerNorm")

    def layer(self, states: str, score_bias: str, index: int) -> str:
        """One transformer layer: self-attention and feed-forward, each with residual and norm."""
        name, graph = f"encoder.layer.{index}", self.graph
        attended = self._dense(self._attention(states, score_bias, name), f"{name}.attention.output.dense")
        states = self._norm(graph.op("Add", attended, states), f"{name}.attention.output.LayerNorm")
        inner = graph.op("Gelu", self._dense(states, f"{name}.intermediate.dense"))
        outer = self._dense(inner, f"{name}.output.dense")
        return self._norm(graph.op("Add", outer, states), f"{name}.output.LayerNorm")

    def pooled(self, states: str) -> str:
        """Mean of the tokens that are not padding, divided by its length."""
        graph, axis = self.graph, self.graph.ints([1])
        by_text = graph.op("Concat", self.text_shape, graph.ints([self.shape.hidden]), axis=0)
        mask = graph.cast_float(graph.op("Unsqueeze", ATTENTION_MASK, graph.ints([2])))
        kept = graph.op("Mul", graph.op("Reshape", states, by_text), mask)
        tokens = graph.op("ReduceSum", mask, axis, keepdims=0)
        total = graph.op("ReduceSum", kept, axis, keepdims=0)
        mean = graph.op("Div", total, graph.op("Max", tokens, graph.floats(_MIN_TOKENS)))
        norm = graph.op("ReduceL2", mean, axis, keepdims=1)
        return graph.op("Div", mean, graph.op("Max", norm, graph.floats(_MIN_NORM)))

    def _words(self) -> str:
        table = self.tensors["embeddings.word_embeddings.weight"]
        if self.precision is Precision.INT8:
            return emit_lookup(self.graph, table, INPUT_IDS)
        return self.graph.op("Gather", self.graph.floats(table), INPUT_IDS)

    def _attention(self, states: str, score_bias: str, layer: str) -> str:
        """Scaled dot-product attention, the heads side by side."""
        graph = self.graph
        query, key, value = graph.op_many(
            "Split", self._linear(states, *self._joined(layer)), outputs=3, axis=1, num_outputs=3
        )
        scores = graph.op("MatMul", self._heads(query), self._heads(key, transposed=True))
        weights = graph.op("Softmax", graph.op("Add", scores, score_bias), axis=-1)
        context = graph.op("Transpose", graph.op("MatMul", weights, self._heads(value)), perm=[0, 2, 1, 3])
        return graph.op("Reshape", context, graph.ints([-1, self.shape.hidden]))

    def _joined(self, layer: str) -> tuple[Matrix, Matrix]:
        """Return queries, keys and values as one matrix and bias, with 1/√width folded into the queries."""
        projections = ("query", "key", "value")
        parts = [self._matrix_and_bias(f"{layer}.attention.self.{name}") for name in projections]
        scale = np.float32(self.shape.head_width**-0.5)
        parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
        matrices, biases = zip(*parts, strict=True)
        return np.concatenate(matrices, axis=1), np.concatenate(biases)

    def _heads(self, states: str, *, transposed: bool = False) -> str:
        """Turn flat states into `(batch, head, tokens, width)`, or its transpose for the keys."""
        graph = self.graph
        widths = graph.ints([self.shape.heads, self.shape.head_width])
        split = graph.op("Reshape", states, graph.op("Concat", self.text_shape, widths, axis=0))
        return graph.op("Transpose", split, perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3])

    def _matrix_and_bias(self, name: str) -> tuple[Matrix, Matrix]:
        """Return matrix (inputs x outputs) and bias; torch stores the matrix transposed."""
        return self.tensors[f"{name}.weight"].T, self.tensors[f"{name}.bias"]

    def _dense(self, states: str, name: str) -> str:
        return self._linear(states, *self._matrix_and_bias(name))

    def _linear(self, states: str, matrix: Matrix, bias: Matrix) -> str:
        graph = self.graph
        if self.precision is Precision.INT8:
            return emit_linear(graph, states, matrix, bias)
        return graph.op("Add", graph.op("MatMul", states, graph.floats(matrix)), graph.floats(bias))

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


def build_model(tensors: Tensors, shape: BertShape, precision: Precision) -> onnx.ModelProto:
    """Build the checked ONNX model of the encoder with its weights inside."""
    graph = Emitter()
    encoder = _Encoder(
        graph=graph,
        tensors=tensors,
        shape=shape,
        precision=precision,
        text_shape=graph.op("Shape", INPUT_IDS),
    )
    # Zero for tokens and `_MASKED_SCORE` for padding, `(batch, 1, 1, tokens)`.
    padding = graph.cast_float(graph.op("Sub", graph.ints(1), ATTENTION_MASK))
    masked = graph.op("Mul", padding, graph.floats(_MASKED_SCORE))
    score_bias = graph.op("Unsqueeze", masked, graph.ints([1, 2]))
    states = encoder.embeddings()
    for index in range(shape.layers):
        states = encoder.layer(states, score_bias, index)
    graph.nodes.append(helper.make_node("Identity", [encoder.pooled(states)], [EMBEDDING]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in (INPUT_IDS, ATTENTION_MASK)
    ]
    output = helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", shape.hidden])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "sentence-encoder", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="headrace",
    )
    onnx.checker.check_model(model)
    return model
