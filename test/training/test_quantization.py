# SPDX-License-Identifier: Apache-2.0
"""Quantisation of model files: what is int8, what reads such a file, and what is refused."""

from collections import Counter

import numpy as np
import onnx
import pytest
from graphs import random_image, run_onnx
from onnx import TensorProto, helper, numpy_helper

from panoptic_ros.core.model_file import ModelFileError, load_onnx, read_info
from panoptic_ros.runtime import open_backend
from panoptic_training.quantization import name_layers, quantize

SIZE = (64, 128)


@pytest.fixture(scope='module')
def quantized(hle_model, tmp_path_factory):
    """An HLE model file whose weights are stored in half, its quantised file and its layers."""
    path = tmp_path_factory.mktemp('int8') / 'int8.onnx'
    _, layers = quantize(hle_model, [random_image(SIZE, seed) for seed in range(3)], path)
    return hle_model, path, layers


def test_inputs_and_weights_of_all_layers_are_int8(quantized):
    source, path, layers = quantized
    graph = onnx.load(path).graph
    made = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    convs = [node for node in graph.node if node.op_type == 'Conv']
    assert len(convs) == layers > 50
    for node in convs:
        for name in node.input[:2]:
            assert made[name].op_type == 'DequantizeLinear', name
        values, scales, zero = (
            numpy_helper.to_array(stored[n]) for n in made[node.input[1]].input
        )
        assert values.dtype == np.int8 and scales.shape == (values.shape[0],), 'per channel'
        assert not zero.any(), 'symmetric'
        assert stored[node.input[2]].data_type == TensorProto.FLOAT, "TensorRT's rule"
        *_, zero = (stored[n] for n in made[node.input[0]].input[1:])
        assert not numpy_helper.to_array(zero).any()
    assert Counter(n.op_type for n in graph.node)['QuantizeLinear'] <= layers
    assert path.stat().st_size < 0.8 * source.stat().st_size


def test_decoding_stays_float(quantized):
    graph = onnx.load(quantized[1]).graph
    decoding = {'maps_head'}
    for node in graph.node:
        if decoding.intersection(node.input):
            assert node.op_type not in ('QuantizeLinear', 'DequantizeLinear')
            decoding.update(node.output)


def test_segments_are_about_the_same(quantized):
    source, path, _ = quantized
    image = random_image(SIZE, 1)
    a, b = run_onnx(source, image, {}), run_onnx(path, image, {})
    assert (a['semantic_map'] == b['semantic_map']).mean() > 0.5  # weights are random


def test_the_file_says_that_it_is_int8(quantized):
    source, path, _ = quantized
    info, before = read_info(path), read_info(source)
    assert (info.precision, before.precision) == ('int8', 'fp32')
    assert (info.labels, info.thresholds) == (before.labels, before.thresholds)
    backend = open_backend(path, precision='int8', device='cpu')
    assert (backend.name, backend.precision) == ('onnxruntime/cpu', 'int8')
    keys = {entry.key for entry in onnx.load(path).metadata_props}
    assert 'panoptic_ros' in keys and keys <= {'panoptic_ros', 'panoptic_ros_reference'}


def test_torch_does_not_take_it(quantized):
    with pytest.raises(ModelFileError, match='is quantised: onnxruntime and tensorrt run it'):
        open_backend(quantized[1], 'torch', 'cpu')


def test_weights_that_the_graph_transposes_are_layers():
    nodes = [
        helper.make_node('Transpose', ['fc.weight'], ['turned'], perm=[1, 0]),
        helper.make_node('MatMul', ['x', 'turned'], ['y']),
        helper.make_node('MatMul', ['y', 'constant'], ['z']),
        helper.make_node('MatMul', ['fc.weight', 'constant'], ['static']),
    ]
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = helper.make_graph(
        nodes,
        'test',
        [],
        [],
        [numpy_helper.from_array(weight, name) for name in ('fc.weight', 'constant')],
    )
    assert name_layers(graph) == ['MatMul_0']
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    np.testing.assert_array_equal(stored['turned'], weight.T)


def test_what_cannot_be_quantised_is_refused(quantized, tiny_model, tmp_path):
    source, path, _ = quantized
    image = random_image(SIZE)
    for model, images, reason in (
        (path, [image], r'int8\.onnx is in int8 already; quantise a file that `panoptic export'),
        (source, [], 'a quantisation needs images to calibrate on, got none'),
        (tiny_model, [image], r'tiny\.onnx has no layers that can be quantised'),
    ):
        with pytest.raises(ValueError, match=reason):
            quantize(model, images, tmp_path / 'new.onnx')
    assert not list(tmp_path.iterdir())


def test_tensorrt_builds_it(quantized):
    trt = pytest.importorskip('tensorrt_rtx', reason='needs the wheel tensorrt-rtx')
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(load_onnx(quantized[1]).SerializeToString()), parser.get_error(0).desc()
    assert builder.build_serialized_network(network, builder.create_builder_config())
