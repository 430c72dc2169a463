# SPDX-License-Identifier: Apache-2.0
"""Comparison of a family's module with its exported graph."""

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from panoptic_ros.benchmark.graph import count_layers
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.model_info import OUTPUTS
from panoptic_ros.runtime.engine_build import EngineBuild, build_engine
from panoptic_ros.runtime.tensorrt_library import import_library
from panoptic_training.export import sample_inputs
from panoptic_training.half_precision import use_half


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


def write_half(model, path, folder):
    """Return a new model file with the network in float16, as `--precision fp16` writes it.

    Args:
        model: the module, which is exported already: exports take time.
        path: its model file in float32.
        folder: of the new file.
    """
    graph = onnx.load(path)
    use_half(graph, set(model.state_dict()), sample_inputs(read_info(path)))
    onnx.save(graph, folder / 'half.onnx')
    return folder / 'half.onnx'


def assert_tensorrt_rtx_builds(path):
    """Check that TensorRT-RTX builds an engine of a model file; skip where it is not installed."""
    pytest.importorskip('tensorrt_rtx', reason='needs tensorrt-rtx, see the extra tensorrt_rtx')
    assert build_engine(import_library('tensorrt_rtx'), path, EngineBuild())


def run_autocast(model, image, thresholds):
    """Run the module as PyTorch's autocast computes it in float16."""
    with torch.autocast('cpu', torch.float16):
        return run_eager(model, image, thresholds)


def query_values(found):
    """Return scores and embeddings of all rows; row k is query k, whatever the image shows."""
    return np.concatenate([found['score'], found['embedding'].ravel()])


def assert_as_good_as_autocast(ours, theirs, exact):
    """Check that a vector in half precision is as near to the exact one as that of autocast.

    Random networks amplify rounding, up to a fifth of a map; trained ones do not.
    """
    ours_off, theirs_off = (
        np.linalg.norm(v - exact) / np.linalg.norm(exact) for v in (ours, theirs)
    )
    assert ours_off <= 1.5 * theirs_off + 0.01
