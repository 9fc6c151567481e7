"""Emits nodes and constants of an ONNX graph, one after the other."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


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
