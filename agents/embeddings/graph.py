"""The sentence encoder as an ONNX graph: BERT, masked mean pooling, L2 normalisation.

Inputs `input_ids` and `attention_mask`, both `(batch, tokens)` int64; output `embedding`,
`(batch, hidden)` float32. In fp32 it is all-MiniLM-L6-v2 as sentence-transformers runs it; int8 is its
production form (see `operators`). Inside, the tokens of all texts lie below each other,
`(batch * tokens, hidden)`.

The source of this module is part of the cached model's version: any change here builds a new file.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from onnx import TensorProto, helper

from agents.embeddings import operators
from agents.embeddings.model_files import BertShape, Tensors
from agents.embeddings.operators import Emitter, Matrix

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
            return operators.emit_lookup(self.graph, table, INPUT_IDS)
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
            return operators.emit_linear(graph, states, matrix, bias)
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


def _score_bias(graph: Emitter) -> str:
    """Zero for tokens and `_MASKED_SCORE` for padding, `(batch, 1, 1, tokens)`."""
    padding = graph.cast_float(graph.op("Sub", graph.ints(1), ATTENTION_MASK))
    bias = graph.op("Mul", padding, graph.floats(_MASKED_SCORE))
    return graph.op("Unsqueeze", bias, graph.ints([1, 2]))


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
    score_bias = _score_bias(graph)
    states = encoder.embeddings()
    for index in range(shape.layers):
        states = encoder.layer(states, score_bias, index)
    graph.nodes.append(helper.make_node("Identity", [encoder.pooled(states)], [EMBEDDING]))
    return _model(graph, shape)


def _model(graph: Emitter, shape: BertShape) -> onnx.ModelProto:
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
