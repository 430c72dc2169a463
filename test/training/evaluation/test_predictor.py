# SPDX-License-Identifier: Apache-2.0
"""A model decoded at another stride."""

import numpy as np
import pytest
from tiny_model import paint_scene

from panoptic_ros.runtime.load import load
from panoptic_training.evaluation.predictor import at_stride


@pytest.fixture
def image():
    return paint_scene(64, 128)


def test_the_same_stride_gives_the_same_result(hle_model, image):
    predictor = load(hle_model, 'onnxruntime', 'cpu')
    other = at_stride(predictor, hle_model, predictor.info.stride)
    own, found = predictor.predict(image), other.predict(image)
    assert (own.segment_map == found.segment_map).mean() > 0.99
    assert own.segments['class_id'].tolist() == found.segments['class_id'].tolist()
    assert np.allclose(own.segments['score'], found.segments['score'], atol=1e-2)


def test_stride_2_has_twice_the_cells(hle_model, image):
    finer = at_stride(load(hle_model, 'onnxruntime', 'cpu'), hle_model, 2)
    assert finer.info.stride == 2
    assert finer.predict(image).segment_map.shape == (32, 64)


def test_other_networks_are_refused(tiny_model):
    with pytest.raises(ValueError, match='unknown'):
        at_stride(load(tiny_model, 'onnxruntime', 'cpu'), tiny_model, 2)
