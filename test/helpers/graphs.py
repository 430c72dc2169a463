# SPDX-License-Identifier: Apache-2.0
"""Comparison of a family's module with its exported graph."""

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import torch

from panoptic_ros.benchmark.graph import count_layers
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.model_info import OUTPUTS


def random_image(size, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


def run_eager(model, image, thresholds):
    values = {
        **model.default_thresholds(),
        **{name: torch.tensor(value) for name, value in thresholds.items()},
    }
    with torch.no_grad():
        return {
            name: value.numpy()
            for name, value in model(torch.from_numpy(image), **values)._asdict().items()
        }


@lru_cache(maxsize=1)
def open_session(path):
    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


def run_onnx(path, image, thresholds):
    session = open_session(path)
    values = {name: t.default for name, t in read_info(path).thresholds.items()} | thresholds
    feed = {name: np.array(value, np.float32) for name, value in values.items()}
    return dict(zip(OUTPUTS, session.run(None, {'image': image, **feed}), strict=True))


def assert_same(ours, expected):
    """Check that maps are equal on 99.8 % of the cells, and rows with equal cells within 1e-3.

    Untrained weights give many cells two classes that are almost equally probable."""
    for name in ('segment_map', 'semantic_map'):
        same = (ours[name] == expected[name]).mean()
        assert same >= 0.998, f'{name}: {same}'
    # One cell more in the mask that refines a seed changes the whole instance a little.
    sure = np.abs(ours['confidence'].astype(int) - expected['confidence']) <= 1
    assert sure.mean() >= 0.99
    np.testing.assert_array_equal(ours['valid'], expected['valid'])
    valid = expected['valid'].copy()
    changed = ours['segment_map'] != expected['segment_map']
    for found in (ours, expected):  # a cell more or less changes a whole row
        rows = np.setdiff1d(found['segment_map'][changed], [0]) - 1
        valid[rows] = False
    for name in ('class_id', 'score', 'box', 'centroid', 'area', 'embedding'):
        np.testing.assert_allclose(
            ours[name][valid], expected[name][valid], rtol=1e-3, atol=1e-3, err_msg=name
        )
    assert {name: value.dtype for name, value in ours.items()} == {
        name: value.dtype for name, value in expected.items()
    }


def assert_tensorrt_takes(path):
    """Check that TensorRT's parser accepts a graph, where TensorRT-RTX is installed."""
    assert {node.domain for node in onnx.load(path).graph.node} <= {''}
    if find_spec('tensorrt_rtx'):
        assert count_layers(path)
