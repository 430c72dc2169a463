# SPDX-License-Identifier: Apache-2.0
"""RoiAlign as GridSample: torchvision's values for every kind of box."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from roi_graph import BOXES, CHANNELS, make_graph
from torchvision.ops import roi_align

from panoptic_ros.runtime.roi_align import replace_roi_align


def make_boxes(height, width, rng):
    """Boxes inside, partly outside and outside an image; without area; turned around; whole."""
    extent = np.array([width, height, width, height])
    corners = rng.uniform(-0.5, 1.5, (BOXES, 4)) * extent
    boxes = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1
    )
    boxes[:20, 2:] = boxes[:20, :2]
    boxes[20:40, 2:] = boxes[20:40, :2] - 5
    boxes[40:60] = np.rint(boxes[40:60] / 8) * 8  # corners on cells, samples on the map's edge
    boxes[60:70] = 0, 0, width, height
    boxes[70:90] *= 50
    return boxes.astype(np.float32)


def run(model, features, boxes):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    feed = {'map': features, 'box': boxes, 'batch': np.zeros(len(boxes), np.int64)}
    return session.run(None, feed)[0]


@pytest.mark.parametrize(
    ('size', 'channels', 'bins', 'scale', 'opset'),
    [
        ((64, 128), 256, 7, 1 / 4, 20),
        ((256, 512), 3, 14, 1 / 4, 20),
        ((272, 480), 8, 7, 1 / 4, 20),
        ((16, 32), 3, 14, 1 / 16, 16),
        ((2, 4), 3, 7, 1 / 32, 20),
        ((1, 1), 3, 7, 1 / 32, 20),
        ((9, 5), 3, 3, 1 / 3, 20),
    ],
)
def test_values_are_those_of_torchvision(size, channels, bins, scale, opset):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, channels, *size)).astype(np.float32)
    boxes = make_boxes(size[0] / scale, size[1] / scale, rng)
    expected = roi_align(
        torch.from_numpy(features), [torch.from_numpy(boxes)], bins, scale, 2
    ).numpy()
    assert 0.1 < (expected == 0).mean() < 0.9  # boxes are inside and outside
    model = make_graph(size, bins, scale, opset=opset, channels=channels)
    assert replace_roi_align(model) == 1
    assert 'RoiAlign' not in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, features, boxes), expected, atol=1e-4)


def test_two_nodes_and_the_nodes_around_them_are_kept_apart():
    model = make_graph((8, 8), 4, 0.5)
    twice = model.graph.node.add()
    twice.CopyFrom(model.graph.node[0])
    twice.name = twice.output[0] = 'other'
    model.graph.node.append(helper.make_node('Add', ['pooled', 'other'], ['sum']))
    model.graph.output[0].name = 'sum'
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, CHANNELS, 8, 8)).astype(np.float32)
    boxes = make_boxes(16, 16, rng)
    expected = run(model, features, boxes)
    # A wrong shape that rewriting has left behind does not matter.
    model.graph.value_info.append(
        helper.make_tensor_value_info('pooled', onnx.TensorProto.FLOAT, [BOXES])
    )
    assert replace_roi_align(model) == 2
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, features, boxes), expected, atol=1e-4)


def test_a_graph_without_one_is_unchanged(tiny_model):
    model = onnx.load(tiny_model)
    before = model.SerializeToString()
    assert replace_roi_align(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    'other',
    [
        {'mode': 'max'},
        {'sampling_ratio': 0},
        {'output_width': 3},
        {'coordinate_transformation_mode': 'half_pixel'},
        {'batch': 2},
    ],
)
def test_another_kind_is_refused(other):
    model = make_graph((8, 8), 4, 0.5, **other)
    with pytest.raises(ValueError, match="RoiAlign 'pool' must average"):
        replace_roi_align(model)
