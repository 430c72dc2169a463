# SPDX-License-Identifier: Apache-2.0
"""Rewriting for the CPU: the same results from other operators, also in rare cases.

The graphs of all families are compared in test_families.py.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from panoptic_ros.core.resources import default_model
from panoptic_ros.runtime.cpu_graph import rewrite_for_cpu
from panoptic_ros.runtime.onnxruntime_backend import OnnxRuntimeBackend

RNG = np.random.default_rng(0)


def make(inputs, outputs, text, **constants):
    """Return a graph of these nodes; constants are initializers."""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 20]> test ({inputs}) => ({outputs}) {{ {text} }}'
    )
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def run(model, feed):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)


def rewritten(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    assert rewrite_for_cpu(copy)
    onnx.checker.check_model(copy, full_check=True)
    return copy, {node.op_type for node in copy.graph.node}


def assert_no_races(model):
    """Check that no ScatterND adds: ONNX Runtime loses values where threads share a row."""
    for node in model.graph.node:
        assert node.op_type != 'ScatterND' or not node.attribute, node.output[0]


@pytest.mark.parametrize('first', [1, 3], ids=['all rows', 'rows in the middle'])
def test_sums_over_masks(first):
    model = make(
        'int32[1,5,7] map, float[35,2] value',
        'float[4,7] across, float[4,5] down, float[4,2] total',
        """
        equal = Equal(map, numbers)
        mask = Cast<to=1>(equal)
        across = ReduceSum<keepdims=0>(mask, one)
        down = ReduceSum<keepdims=0>(mask, two)
        flat = Reshape(mask, table)
        total = MatMul(flat, value)
        """,
        numbers=np.arange(first, first + 4, dtype=np.int32).reshape(4, 1, 1),
        one=np.array([1]),
        two=np.array([2]),
        table=np.array([4, 35]),
    )
    fast, kinds = rewritten(model)
    assert 'ReduceSum' not in kinds
    assert_no_races(fast)
    feed = {
        'map': RNG.integers(0, 9, (1, 5, 7), np.int32),  # also rows before and after these
        'value': RNG.normal(size=(35, 2)).astype(np.float32),
    }
    for ours, expected in zip(run(fast, feed), run(model, feed), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


ROWS = """
    column = Unsqueeze(alive, one)
    rows = Where(column, table, nothing)
"""
MATCH = """
    turned = Transpose<perm=[1,0]>(rows)
    product = MatMul(cells, turned)
    best = ReduceMax<keepdims=0>(product, one)
    row = ArgMax<axis=-1, keepdims=0>(product)
"""
MASKS = """
    product = MatMul(rows, cells)
    inside = Greater(product, threshold)
    mask = Cast<to=1>(inside)
    total = MatMul(mask, value)
"""
NOTHING = np.array([[0, 0, -50]], np.float32)


def random_rows(alive):
    """Return the inputs of ROWS; a row takes part where `alive` has a 1."""
    return {
        'alive': np.array([flag == '1' for flag in alive]),
        'table': RNG.normal(size=(5, 3)).astype(np.float32),
    }


@pytest.mark.parametrize('alive', ['00000', '11111', '01101', '00001'])
def test_the_best_of_some_rows(alive):
    model = make(
        'bool[5] alive, float[5,3] table, float[40,3] cells',
        'float[40] best, int64[40] row',
        ROWS + MATCH,
        one=np.array([1]),
        nothing=NOTHING,
    )
    fast, kinds = rewritten(model)
    assert 'Compress' in kinds
    feed = {**random_rows(alive), 'cells': RNG.normal(size=(40, 3)).astype(np.float32)}
    feed['cells'][:, 2] = 1
    (best, row), (expected_best, expected_row) = run(fast, feed), run(model, feed)
    np.testing.assert_allclose(best, expected_best, rtol=1e-5, atol=1e-6)
    found = expected_best > -40  # elsewhere the row has no meaning
    assert found.any() == ('1' in alive)
    np.testing.assert_array_equal(row[found], expected_row[found])


@pytest.mark.parametrize('alive', ['00000', '11111', '01101', '00001'])
def test_sums_over_the_masks_of_some_rows(alive):
    model = make(
        'bool[5] alive, float[5,3] table, float[3,40] cells, float threshold, float[40,2] value',
        'float[5,2] total',
        ROWS + MASKS,
        one=np.array([1]),
        nothing=NOTHING,
    )
    fast, kinds = rewritten(model)
    assert 'Compress' in kinds
    feed = {
        **random_rows(alive),
        'cells': RNG.normal(size=(3, 40)).astype(np.float32),
        'threshold': np.array(0, np.float32),
        'value': RNG.normal(size=(40, 2)).astype(np.float32),
    }
    feed['cells'][2] = 1
    np.testing.assert_allclose(run(fast, feed)[0], run(model, feed)[0], rtol=1e-5, atol=1e-6)


def test_a_softmax_over_classes():
    model = make(
        'float[4,30] logits',
        'float[30,4] psi',
        'turned = Transpose<perm=[1,0]>(logits) psi = Softmax<axis=1>(turned)',
    )
    fast, kinds = rewritten(model)
    assert 'Softmax' not in kinds
    feed = {'logits': (100 * RNG.normal(size=(4, 30))).astype(np.float32)}
    np.testing.assert_allclose(run(fast, feed)[0], run(model, feed)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    'text',
    [
        'equal = Equal(map, other) mask = Cast<to=1>(equal) out = ReduceSum<keepdims=0>(mask, a)',
        'equal = Equal(map, gaps) mask = Cast<to=1>(equal) out = ReduceSum<keepdims=0>(mask, a)',
        'equal = Equal(map, numbers) mask = Cast<to=1>(equal) out = ReduceSum(mask, a)',
        'equal = Equal(map, numbers) mask = Cast<to=1>(equal) out = ReduceSum(mask, both)',
        'x = Cast<to=1>(map) out = Softmax<axis=1>(x)',
        ROWS + MATCH.replace('axis=-1', 'axis=0'),
    ],
    ids=['a map', 'gaps', 'kept axis', 'two axes', 'softmax', 'best cell'],
)
def test_what_is_not_recognised_stays(text):
    model = make(
        'int32[1,5,7] map, int32[4,1,1] other, bool[5] alive, float[5,3] table, float[40,3] cells',
        'int64[5] row' if 'row' in text else 'float out',
        text,
        numbers=np.arange(4, dtype=np.int32).reshape(4, 1, 1),
        gaps=np.array([0, 2, 3, 9], np.int32).reshape(4, 1, 1),
        one=np.array([1]),
        a=np.array([1]),
        nothing=NOTHING,
        both=np.array([1, 2]),
    )
    before = list(model.graph.node)
    assert not rewrite_for_cpu(model)
    assert list(model.graph.node) == before


@pytest.mark.parametrize(
    ('outputs', 'text'),
    [
        ('float[40] best, int64[40] row', ROWS.replace('Where(column', 'Where(whole') + MATCH),
        ('float[40] best, int64[40] row', ROWS.replace('nothing', 'lowest') + MATCH),
        (
            'float[20,2] out',
            """
            equal = Equal(map, numbers)
            mask = Cast<to=1>(equal)
            lines = Reshape(mask, by_line)
            out = MatMul(lines, values)
            """,
        ),
        (
            'float16[3,5] out',
            """
            half = Cast<to=10>(table)
            turned = Transpose<perm=[1,0]>(half)
            out = Softmax<axis=1>(turned)
            """,
        ),
    ],
    ids=['one condition for all rows', 'one number a row', 'masks line by line', 'half precision'],
)
def test_similar_parts_of_other_shapes_and_types_stay(outputs, text):
    model = make(
        'int32[1,5,7] map, bool[5] alive, float[5,3] table, float[40,3] cells, bool[1,1] whole',
        outputs,
        text,
        numbers=np.arange(4, dtype=np.int32).reshape(4, 1, 1),
        one=np.array([1]),
        nothing=NOTHING,
        lowest=np.array([[-50]], np.float32),
        by_line=np.array([20, 7]),
        values=np.ones((7, 2), np.float32),
    )
    onnxruntime.InferenceSession(model.SerializeToString())  # a valid graph
    before = list(model.graph.node)
    assert not rewrite_for_cpu(model)
    assert list(model.graph.node) == before


def test_the_backend_runs_the_rewritten_graph(monkeypatch):
    graphs = []

    def open_session(graph, *args):
        graphs.append(onnx.load_model_from_string(graph))

    monkeypatch.setattr('panoptic_ros.runtime.onnxruntime_backend.open_session', open_session)
    with pytest.raises(AttributeError):  # of the missing session
        OnnxRuntimeBackend(default_model(), 'cpu')
    assert {'Compress', 'ScatterND'} <= {node.op_type for node in graphs[0].graph.node}
    assert_no_races(graphs[0])
