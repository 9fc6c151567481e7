"""Quantised multiplication on its own."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from agents.embeddings.graph import Emitter, Matrix, emit_linear, quantise_columns, quantise_rows
from agents.embeddings.model_files import Tensors
from tests.agents.embeddings.conftest import session_of

RANDOM = np.random.default_rng(7)


def run_linear(states: Matrix, matrix: Matrix, bias: Matrix) -> Matrix:
    graph = Emitter()
    result = emit_linear(graph, "states", matrix, bias)
    inputs = [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["tokens", matrix.shape[0]])]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["tokens", matrix.shape[1]])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "linear", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    product: Matrix = session_of(model).run(None, {"states": states})[0]
    return product


def normal(*shape: int) -> Matrix:
    return RANDOM.standard_normal(shape).astype(np.float32)


def assert_no_overflow(values: np.ndarray) -> None:
    pairs = values.astype(int).reshape(values.shape[0] // 2, 2, -1)
    assert 255 * np.maximum(pairs, 0).sum(axis=1).max() <= 2**15 - 1
    assert 255 * np.minimum(pairs, 0).sum(axis=1).min() >= -(2**15)


def test_values_times_scales_give_the_matrix_back() -> None:
    """Rounding is off by half a step at most, and a column of zeros stays zeros."""
    matrix = normal(64, 32)
    matrix[:, 5] = 0
    values, scales = quantise_columns(matrix)
    assert (np.abs(values * scales - matrix) <= scales * 0.5001).all()
    assert not values[:, 5].any()


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_neighbouring_weights_never_overflow_16_bits(spread: float) -> None:
    """Two products that a processor without VNNI adds in 16 bits fit, even if both weights are large."""
    matrix = normal(256, 64)
    matrix[::7] *= spread
    matrix[8:10, 3] = matrix.max() * 2
    assert_no_overflow(quantise_columns(matrix)[0])


def test_the_weights_of_the_model_never_overflow_16_bits(tensors: Tensors) -> None:
    """The same holds for every matrix that is really multiplied."""
    for name, tensor in tensors.items():
        if name.startswith("encoder.") and tensor.ndim == 2:
            assert_no_overflow(quantise_columns(tensor.T)[0])


def test_rows_give_the_table_back() -> None:
    """A table that is looked up has a scale per row."""
    table = normal(20, 16) * np.logspace(-3, 3, 20, dtype=np.float32)[:, None]
    values, scales = quantise_rows(table)
    assert (np.abs(values * scales - table) <= scales * 0.5001).all()


def test_linear_is_close_to_the_float_product() -> None:
    """The relative error of an int8 product is about a hundredth."""
    states, matrix, bias = normal(9, 384), normal(384, 96), normal(96)
    exact = states @ matrix + bias
    error = np.linalg.norm(run_linear(states, matrix, bias) - exact) / np.linalg.norm(exact)
    assert error < 0.02


def test_a_token_does_not_depend_on_its_neighbours() -> None:
    """An outlier in one token leaves the bits of the others as they are."""
    states, matrix, bias = normal(6, 384), normal(384, 96), normal(96)
    before = run_linear(states, matrix, bias)
    states[2] *= 1000
    after = run_linear(states, matrix, bias)
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(after[others], before[others])


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_a_token_of_equal_values_is_exact(value: float) -> None:
    """A token without any spread has no step to divide by, and still a right product."""
    states = np.full((1, 384), value, dtype=np.float32)
    matrix, bias = normal(384, 96), normal(96)
    values, scales = quantise_columns(matrix)
    expected = states @ (values * scales) + bias
    np.testing.assert_allclose(run_linear(states, matrix, bias), expected, rtol=1e-4, atol=1e-4)
