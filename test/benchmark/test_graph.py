# SPDX-License-Identifier: Apache-2.0
"""Times of network and decoding from a profile, and counts of operations."""

from io import StringIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from tiny_model import paint_scene, tiny_graph, tiny_info

from panoptic_ros.benchmark.graph import LEAST_RUNS, count_layers, count_nodes, time_graph
from panoptic_ros.benchmark.pipeline import time_pipeline
from panoptic_ros.benchmark.report import pipeline_records, pipeline_table
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import write_model_file

INFO = tiny_info()
IMAGES = [paint_scene(*INFO.input_size)]
THRESHOLDS = {'score_threshold': 0.5, 'min_area': 0.0}


def with_matrix_products(path, before, after):
    """Write the tiny model with matrix products in its network or in its decoding.

    Its network is the conversion of the image to numbers.
    """
    model = tiny_graph(INFO)
    graph = model.graph
    rng = np.random.default_rng(0)
    graph.initializer.append(
        numpy_helper.from_array(rng.normal(size=(768, 768)).astype(np.float32) / 99, 'matrix')
    )
    shape, back = np.array([-1, 768], np.int64), np.array([*INFO.input_size, 3], np.int64)
    for name, value in (('shape', shape), ('back', back), ('nothing', np.float32(0))):
        graph.initializer.append(numpy_helper.from_array(value, name))
    cast = graph.node[0]
    (pixels,) = cast.output

    def products(start, count, end, where):
        nodes = [helper.make_node('Reshape', [start, 'shape'], [f'{where}0'])]
        nodes += [
            helper.make_node('MatMul', [f'{where}{i}', 'matrix'], [f'{where}{i + 1}'])
            for i in range(count)
        ]
        return [
            *nodes,
            helper.make_node('Reshape', [f'{where}{count}', 'back'], [f'{where}end']),
            helper.make_node('Mul', [f'{where}end', 'nothing'], [f'{where}zero']),
            helper.make_node('Add', [start, f'{where}zero'], [end]),
        ]

    cast.output[0] = 'numbers'
    nodes = [
        cast,
        *products('numbers', before, 'maps_head', 'network'),
        *products('maps_head', after, pixels, 'decoding'),
        *graph.node[1:],
    ]
    for i, node in enumerate(nodes):
        node.name = f'node_{i}'
    del graph.node[:]
    graph.node.extend(nodes)
    write_model_file(model, INFO, path)
    return path


@pytest.mark.parametrize(('before', 'after'), [(40, 2), (2, 40)])
def test_each_operation_counts_for_its_part(tmp_path, before, after):
    path = with_matrix_products(tmp_path / 'model.onnx', before, after)
    times = time_graph(path, IMAGES, THRESHOLDS, 0.01)
    assert len(times.network_ms) == len(times.decode_ms) == LEAST_RUNS
    network, decode = (np.median(part) for part in times)
    assert network > 0 and decode > 0
    assert (network > 2 * decode) == (before > after)
    assert (decode > 2 * network) == (after > before)


def test_a_file_that_does_not_name_the_end_of_its_network_is_not_divided(tiny_model):
    assert time_graph(tiny_model, IMAGES, THRESHOLDS, 0.01) is None


def test_the_report_has_both_parts_and_the_counts(tmp_path):
    path = with_matrix_products(tmp_path / 'model.onnx', 4, 2)
    report = time_pipeline(path, [CameraImage(IMAGES[0])], 0.01, backend='onnxruntime', threads=1)
    assert list(report.stages_ms) == ['pre', 'infer', 'post', 'track', 'total']
    out = StringIO()
    Console(file=out, width=200).print(pipeline_table([report], '64x128'))
    rows = {line[:25].strip(): line[25:].strip() for line in out.getvalue().splitlines()}
    assert all('/' in rows[f'{part}, one thread'] for part in ('network', 'decode'))
    assert float(rows['decode : network']) > 0
    assert rows['operations'] == str(count_nodes(path))
    records = {record['stage']: record for record in pipeline_records(report)}
    assert 0 < records['decode, one thread']['p50_ms'] < records['infer']['p95_ms'] * 10
    assert records['infer']['operations'] == report.nodes


def test_constants_are_no_operations(tmp_path):
    model = tiny_graph(INFO)
    count = len(model.graph.node)
    value = numpy_helper.from_array(np.float32(0))
    model.graph.node.append(helper.make_node('Constant', [], ['unused'], value=value))
    write_model_file(model, INFO, tmp_path / 'model.onnx')
    assert count_nodes(tmp_path / 'model.onnx') == count


def test_tensorrts_parser_counts_layers(tmp_path):
    pytest.importorskip('tensorrt_rtx')
    x = helper.make_tensor_value_info('x', TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info('y', TensorProto.FLOAT, [4])
    two = numpy_helper.from_array(np.full(4, 2, np.float32), 'two')
    nodes = [helper.make_node('Mul', ['x', 'two'], ['z']), helper.make_node('Exp', ['z'], ['y'])]
    graph = helper.make_graph(nodes, 'g', [x], [y], [two])
    opset = helper.make_opsetid('', 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset]), tmp_path / 'two.onnx')
    assert count_layers(tmp_path / 'two.onnx') == 2
    graph.node[1].op_type = 'Bernoulli'
    onnx.save(helper.make_model(graph, opset_imports=[opset]), tmp_path / 'refused.onnx')
    assert count_layers(tmp_path / 'refused.onnx') is None
