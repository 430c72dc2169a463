# SPDX-License-Identifier: Apache-2.0
"""Times of network and decoding from a profile, and counts of operations."""

from io import StringIO

import numpy as np
import onnx
import pytest
from matrix_model import IMAGES, INFO, THRESHOLDS, with_matrix_products
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from tiny_model import tiny_graph

from panoptic_ros.benchmark.graph import LEAST_RUNS, count_layers, count_nodes, time_graph
from panoptic_ros.benchmark.pipeline import time_pipeline
from panoptic_ros.benchmark.report import pipeline_records, pipeline_table, pipeline_tables
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import write_model_file


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


def test_models_stand_side_by_side_where_there_is_room(tmp_path):
    path = with_matrix_products(tmp_path / 'model.onnx', 1, 1)
    report = time_pipeline(path, [CameraImage(IMAGES[0])], 0.01, backend='onnxruntime', threads=1)
    for width, count in ((30, 3), (72, 2), (200, 1)):
        console = Console(file=StringIO(), width=width)
        tables = list(pipeline_tables([report] * 3, '64x128', console))
        assert len(tables) == count
        assert sum(len(table.columns) - 1 for table in tables) == 3


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
