# SPDX-License-Identifier: Apache-2.0
"""Passes on exported graphs: the same results, in fewer operations."""

import copy
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper, parser

from panoptic_ros.core.onnx_edit import infer_shapes
from panoptic_ros.core.onnx_graph import TRANSPOSED
from panoptic_training.onnx_passes import simplify


def graph_of(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """Return a model of a graph's text; `__` in a weight's name stands for a dot."""
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
    for node in model.graph.node:
        node.input[:] = [name.replace('__', '.') for name in node.input]
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name.replace('__', '.')))
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    """Run a model on random inputs that depend on their shapes only."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    rng = np.random.default_rng(0)
    feed = {
        value.name: rng.integers(0, 3, value.shape).astype(np.int32)
        if 'int32' in value.type
        else rng.standard_normal(value.shape).astype(np.float32)
        for value in session.get_inputs()
    }
    return session.run(None, feed)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph.node))


RNG = np.random.default_rng(1)


def weight(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


@pytest.mark.parametrize(
    ('text', 'weights', 'expected'),
    [
        pytest.param(
            """g (float[2,3] x, float[2,3] y) => (uint8[2,2,3] z) {
              zero = Constant <value = int64[1] {0}> ()
              a = Cast <to = 2> (x)
              b = Cast <to = 2> (y)
              c = Unsqueeze (a, zero)
              d = Unsqueeze (b, zero)
              z = Concat <axis = 0> (c, d) }""",
            {},
            {'Constant': 1, 'Unsqueeze': 2, 'Concat': 1, 'Cast': 1},
            id='casts of the outputs of a batch',
        ),
        pytest.param(
            """g (float[2,3] x, int32[2,3] y) => (int64[2,2,3] z) {
              zero = Constant <value = int64[1] {0}> ()
              a = Cast <to = 7> (x)
              b = Cast <to = 7> (y)
              c = Unsqueeze (a, zero)
              d = Unsqueeze (b, zero)
              z = Concat <axis = 0> (c, d) }""",
            {},
            {'Constant': 1, 'Unsqueeze': 2, 'Concat': 1, 'Cast': 2},
            id='casts of different types',
        ),
        pytest.param(
            """g (float[1,3,5,5] x) => (float[1,4,5,5] y) {
              a = Conv <pads = [1,1,1,1]> (x, l__weight)
              y = BatchNormalization (a, n__weight, n__bias, n__mean, n__var) }""",
            {
                'l__weight': weight(4, 3, 3, 3),
                **{f'n__{name}': weight(4) for name in ('weight', 'bias', 'mean', 'var')},
            },
            {'Conv': 1},
            id='a norm after a convolution',
        ),
        pytest.param(
            """g (float[1,3,5,5] x) => (float[1,4,5,5] y, float[1,4,5,5] z) {
              a = Conv (x, l__weight)
              y = BatchNormalization (a, n__weight, n__bias, n__mean, n__var)
              z = Relu (a) }""",
            {
                'l__weight': weight(4, 3, 1, 1),
                **{f'n__{name}': weight(4) for name in ('weight', 'bias', 'mean', 'var')},
            },
            {'Conv': 1, 'BatchNormalization': 1, 'Relu': 1},
            id='a convolution that others read too',
        ),
        pytest.param(
            """g (float[1,3,5,5] x, float[1,3,5,5] v) => (float[1,4,5,5] y, float[1,4,5,5] z) {
              a = Conv (x, l__weight)
              y = BatchNormalization (a, n__weight, n__bias, n__mean, n__var)
              b = Conv (v, l__weight)
              z = BatchNormalization (b, m__weight, m__bias, m__mean, m__var) }""",
            {
                'l__weight': weight(4, 3, 1, 1),
                **{
                    f'{layer}__{name}': weight(4)
                    for layer in 'nm'
                    for name in ('weight', 'bias', 'mean', 'var')
                },
            },
            {'Conv': 2, 'BatchNormalization': 2},
            id='one convolution before two norms',
        ),
        pytest.param(
            """g (float[2,5] x) => (float[2,3] y) {
              a = Transpose <perm = [1,0]> (l__weight)
              y = MatMul (x, a) }""",
            {'l__weight': weight(3, 5)},
            {'MatMul': 1},
            id='a transposed weight',
        ),
        pytest.param(
            """g (float[2,1] x) => (float[2,1] y) {
              a = Transpose <perm = [0,1]> (l__weight)
              y = Mul (x, a) }""",
            {'l__weight': weight(2, 1)},
            {'Mul': 1},
            id='a transpose that keeps the order',
        ),
        pytest.param(
            """g (float[4,6] x) => (float[4,2] y, float[4,3] z) {
              zero = Constant <value = int64[1] {0}> ()
              two = Constant <value = int64[1] {2}> ()
              five = Constant <value = int64[1] {5}> ()
              axis = Constant <value = int64[1] {1}> ()
              z = Slice (x, two, five, axis)
              y = Slice (x, zero, two, axis) }""",
            {},
            {'Split': 1},
            id='slices beside each other',
        ),
        pytest.param(
            """g (float[4,6] x) => (float[4,5] y, float[4,3] z) {
              zero = Constant <value = int64[1] {0}> ()
              two = Constant <value = int64[1] {2}> ()
              end = Constant <value = int64[1] {-1}> ()
              axis = Constant <value = int64[1] {1}> ()
              y = Slice (x, zero, end, axis)
              z = Slice (x, two, end, axis) }""",
            {},
            {'Split': 2},
            id='slices that overlap',
        ),
        pytest.param(
            """g (float[2,3,4,5] x) => (float[2,3,5,4] y) {
              three = Constant <value = int64[3] {-1,4,5}> ()
              four = Constant <value = int64[4] {2,3,5,4}> ()
              a = Reshape (x, three)
              b = Transpose <perm = [0,2,1]> (a)
              y = Reshape (b, four) }""",
            {},
            {'Transpose': 1},
            id='a transpose between reshapes',
        ),
        pytest.param(
            """g (float[2,3,4] x) => (float[4,2,3] y) {
              a = Transpose <perm = [1,0,2]> (x)
              b = Transpose <perm = [2,1,0]> (a)
              y = Abs (b) }""",
            {},
            {'Transpose': 1, 'Abs': 1},
            id='two transposes',
        ),
        pytest.param(
            """g (float[2,3] x) => (float[6] y, float[2,3] z) {
              one = Constant <value = int64[1] {-1}> ()
              axis = Constant <value = int64[1] {0}> ()
              a = Unsqueeze (x, axis)
              y = Reshape (a, one)
              b = Squeeze (a, axis)
              z = Relu (b) }""",
            {},
            {'Reshape': 1, 'Relu': 1},
            id='reshapes that follow each other',
        ),
        pytest.param(
            """g (float[3,2] x, int32[4] i) => (float[4,2] y) {
              j = Cast <to = 7> (i)
              y = Gather (x, j) }""",
            {},
            {'Gather': 1},
            id='indices of 32 bits',
        ),
        pytest.param(
            """g (float[3,2] x, float[2] v) => (bool[3,2] y, bool[3,2] z) {
              y = GreaterOrEqual (x, v)
              z = LessOrEqual (x, v) }""",
            {},
            {'Less': 1, 'Greater': 1, 'Not': 2},
            id='comparisons',
        ),
        pytest.param(
            """g (float[3,2] x) => (float[3,2] y) {
              two = Constant <value = float {2.0}> ()
              a = Pow (x, two)
              y = Mul (a, two) }""",
            {},
            {'Mul': 2, 'Constant': 0},
            id='squares and constants of lower rank',
        ),
        pytest.param(
            """g (float[1,3] x) => (float[3] y) {
              zero = Constant <value = int64 {0}> ()
              a = Gather (x, zero)
              y = Relu (a) }""",
            {},
            {'Squeeze': 1, 'Relu': 1},
            id='the only element of an axis',
        ),
        pytest.param(
            """g (float[3,2] x) => (float[3,2] y) {
              three = Constant <value = int64[1] {3}> ()
              a = Split <axis = 0> (x, three)
              y = Relu (a) }""",
            {},
            {'Relu': 1},
            id='the only part of a split',
        ),
    ],
)
def test_a_pass_keeps_the_results(text, weights, expected):
    model = graph_of(text, **weights)
    simple = copy.deepcopy(model)
    simplify(simple)
    onnx.checker.check_model(simple, full_check=True)
    for before, after in zip(run(model), run(simple), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    found = operators(simple)
    assert {name: n for name, n in found.items() if name != 'Constant'} == {
        name: n for name, n in expected.items() if name != 'Constant'
    }


def test_a_layer_on_two_levels_is_merged_once():
    norm = {f'n__{name}': weight(4) for name in ('weight', 'bias', 'mean', 'var')}
    model = graph_of(
        """g (float[1,3,5,5] x, float[1,3,2,2] v) => (float[1,4,5,5] y, float[1,4,2,2] z) {
          a = Conv (x, l__weight, l__bias)
          y = BatchNormalization (a, n__weight, n__bias, n__mean, n__var)
          b = Conv (v, l__weight, l__bias)
          z = BatchNormalization (b, n__weight, n__bias, n__mean, n__var) }""",
        l__weight=weight(4, 3, 1, 1),
        l__bias=weight(4),
        **norm,
    )
    simple = copy.deepcopy(model)
    simplify(simple)
    assert operators(simple) == {'Conv': 2}
    assert {tensor.name for tensor in simple.graph.initializer} == {'l.weight', 'l.bias'}
    for before, after in zip(run(model), run(simple), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_a_transposed_weight_says_so():
    linear = weight(3, 5)
    model = graph_of(
        """g (float[2,5] x) => (float[2,3] y) {
          a = Transpose <perm = [1,0]> (l__weight)
          y = MatMul (x, a) }""",
        l__weight=linear,
    )
    simplify(model)
    [tensor] = model.graph.initializer
    assert tensor.name == 'l.weight' + TRANSPOSED
    assert torch.equal(torch.from_numpy(numpy_helper.to_array(tensor)).T, torch.from_numpy(linear))


def test_shapes_are_inferred_without_the_weights(monkeypatch):
    model = graph_of(
        """g (float[1,3,64] x) => (float[1,8,12] y) {
          a = MatMul (x, l__weight)
          y = Reshape (a, shape) }""",
        l__weight=weight(64, 32),
        shape=np.array([1, 8, -1]),
    )
    expected = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = []

    def infer(model, **options):
        sizes.append(model.ByteSize())
        return original(model, **options)

    original = onnx.shape_inference.infer_shapes
    monkeypatch.setattr(onnx.shape_inference, 'infer_shapes', infer)
    found = infer_shapes(model)
    assert (found.input, found.output) == (expected.input, expected.output)
    assert list(found.value_info) == list(expected.value_info)
    simplify(model)
    # ONNX would serialise the weights, and cannot above 2 GiB.
    assert len(sizes) == 2 and max(sizes) < 1000 < model.ByteSize()
