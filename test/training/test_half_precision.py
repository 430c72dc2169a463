# SPDX-License-Identifier: Apache-2.0
"""Half precision in graphs: which operators get it, and where types meet."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from panoptic_training.half_precision import MOST_TERMS, use_half

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

WEIGHTS = {'a_weight': (4, 3, 1, 1), 'b_weight': (4, 4, 1, 1), 'fc_weight': (5, 4)}
FEED = {
    'image': np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32),
    'limit': np.array(0.25, np.float32),
}


def make(text, **constants):
    """Return a graph of these nodes, from `image` and `limit` to `out`."""
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> '
        f'test (float[1,3,8,8] image, float limit) => (float out) {{ {text} }}'
    )
    model.graph.output[0].type.tensor_type.ClearField('shape')
    rng = np.random.default_rng(0)
    constants = {
        name: (rng.normal(size=shape) / np.sqrt(shape[1])).astype(np.float32)
        for name, shape in WEIGHTS.items()
        if name in text
    } | constants
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return onnx.shape_inference.infer_shapes(model)


def convert(model):
    """Return a converted copy, and the types of its values."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    use_half(half, set(WEIGHTS), [FEED])
    onnx.checker.check_model(half, full_check=True)
    values = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return half, types | {tensor.name: tensor.data_type for tensor in half.graph.initializer}


def run(model):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, FEED)[0]


def casts(model):
    nodes = [node for node in model.graph.node if node.op_type == 'Cast']
    return [(node.input[0], node.output[0]) for node in nodes]


def test_layers_and_what_is_between_are_half_and_what_follows_is_not():
    model = make(
        'a = Conv(image, a_weight) relu = Relu(a) b = Conv(relu, b_weight)'
        'shown = Sigmoid(b) out = Mul(shown, limit)'
    )
    half, types = convert(model)
    assert [types[name] for name in ('half_a', 'half_relu', 'half_b')] == [HALF] * 3
    assert types['shown'] == types['b'] == FLOAT
    assert casts(half) == [('image', 'half_image'), ('half_b', 'b')]
    assert types['a_weight'] == types['b_weight'] == HALF
    np.testing.assert_allclose(run(half), run(model), atol=3e-3)


@pytest.mark.parametrize(
    ('between', 'why'),
    [
        ('mean = ReduceMean<keepdims=1>(a, axes) x = Relu(mean)', 'a sum'),
        ('x = Softmax<axis=1>(a)', 'an exponential and a sum'),
        ('x = Div(a, limit)', 'a quotient'),
        ('x = Where(yes, a, a)', 'an operator that is not listed'),
        ('x = Add(a, limit)', 'an operand that is no result of a layer'),
    ],
)
def test_other_operators_between_layers_are_float32(between, why):
    model = make(
        f'a = Conv(image, a_weight) {between} y = Mul(x, x) out = Conv(y, b_weight)',
        yes=True,
        axes=[2, 3],
    )
    half, types = convert(model)
    assert types['mean' if 'mean' in between else 'x'] == FLOAT, why
    np.testing.assert_allclose(run(half), run(model), atol=2e-2)


@pytest.mark.parametrize(('largest', 'kind'), [(1e3, HALF), (1e5, FLOAT)])
def test_values_that_float16_does_not_hold_stay_float32(largest, kind):
    factor = np.float32(largest / np.abs(run(make('out = Conv(image, a_weight)'))).max())
    model = make(
        'a = Conv(image, a_weight) up = Mul(a, factor) b = Relu(up) down = Mul(b, inverse)'
        'out = Conv(down, b_weight)',
        factor=factor,
        inverse=1 / factor,
    )
    half, types = convert(model)
    assert types.get('half_up', types.get('up')) == types.get('half_b', types.get('b')) == kind
    assert types['half_a'] == HALF
    np.testing.assert_allclose(run(half), run(model), atol=3e-3)


def test_a_weight_that_is_cut_and_transposed_is_stored_in_half():
    half, types = convert(
        make(
            'flat = Reshape(image, shape) part = Gather<axis=0>(fc_weight, rows)'
            'turned = Transpose<perm=[1, 0]>(part) small = MatMul(flat, turned) out = Relu(small)',
            shape=np.array([-1, 4]),
            rows=np.array([0, 2]),
        )
    )
    assert types['fc_weight'] == types['half_turned'] == types['half_small'] == HALF
    assert casts(half) == [('flat', 'half_flat'), ('half_small', 'small')]


def test_a_weight_that_the_decoding_reads_too_stays_float32():
    model = make(
        'a = Conv(image, a_weight) b = Conv(a, b_weight) size = ReduceMax<keepdims=0>(b_weight)'
        'out = Mul(b, size)'
    )
    half, types = convert(model)
    assert (types['a_weight'], types['b_weight']) == (HALF, FLOAT)
    assert ('b_weight', 'half_b_weight') in casts(half)
    np.testing.assert_allclose(run(half), run(model), atol=5e-3)


def test_a_constant_serves_both_types():
    model = make(
        'a = Conv(image, a_weight) c = Constant<value_float=1.5>() sum = Add(a, third)'
        'b = Conv(sum, b_weight) x = Add(b, third) out = Mul(x, c)',
        third=np.float32(1 / 3),
    )
    half, types = convert(model)
    assert (types['third'], types['half_third']) == (FLOAT, HALF)
    np.testing.assert_allclose(run(half), run(model), atol=3e-3)


def test_a_product_with_a_constant_is_between_layers():
    model = make(
        'flat = Reshape(image, shape) a = Gemm<transB=1>(flat, fc_weight) x = MatMul(mean, a)'
        'out = Gemm<transB=1>(x, fc_weight)',
        shape=np.array([-1, 4]),
        mean=np.full((5, 48), 1 / 48, np.float32),
        fc_weight=np.ones((4, 4), np.float32),
    )
    half, types = convert(model)
    assert types['mean'] == types['half_x'] == HALF
    np.testing.assert_allclose(run(half), run(model), atol=5e-3)


@pytest.mark.parametrize(('pixels', 'kind'), [(64, HALF), (MOST_TERMS + 1, FLOAT)])
def test_products_over_many_pixels_are_float32(pixels, kind):
    model = make(
        'a = Conv(image, a_weight) flat = Reshape(a, shape) many = Tile(flat, times)'
        'some = Gather<axis=1>(many, first) turned = Transpose<perm=[1, 0]>(some)'
        'x = MatMul(some, turned) out = Gemm<transB=1>(x, fc_weight)',
        shape=np.array([4, 64]),
        times=np.array([1, pixels // 64 + 1]),
        first=np.arange(pixels),
    )
    _, types = convert(model)
    assert types['half_some'] == HALF
    assert types.get('half_x' if kind == HALF else 'x') == kind


def test_a_weight_too_large_for_float16_is_named():
    model = make('a = Conv(image, a_weight) out = Relu(a)')
    weight = numpy_helper.to_array(model.graph.initializer[0]) * 1e-6
    weight[0, 0] = 7e4
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, 'a_weight'))
    scaled = {**FEED, 'image': FEED['image'] * 1e-6}
    with pytest.raises(ValueError, match=r'the weight a_weight is larger than float16 holds'):
        use_half(model, {'a_weight'}, [scaled])
