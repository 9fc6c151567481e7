"""The operators of the ONNX graph: emitted one after the other, multiplication and look-up in int8.

Weights have one scale per output column, activations one scale and offset **per token**. Dynamic
quantisation as ONNX Runtime's own tool does it takes one scale per tensor: the vector of a text would then
depend on the texts beside it, and the cosine to fp32 is .995 where per token it is .999 (200 QQP questions).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

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
