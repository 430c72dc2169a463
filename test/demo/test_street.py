# SPDX-License-Identifier: Apache-2.0
"""The bag of the synthetic street, as the demo's camera plays it."""

from itertools import islice

import numpy as np
import pytest

from panoptic_ros.demo.street import (
    MAX_DEPTH_M,
    RATE_HZ,
    SIZE,
    STREET_BESIDE,
    STREETS,
    draw_street,
)
from panoptic_ros.node.topics import COMPRESSED_DEPTH_INPUT, INFO_INPUT
from panoptic_ros.recordings.bag_images import BagImages
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.depth import read_depth


def test_depth_and_camera_of_the_street_are_exact(tmp_path):
    pytest.importorskip('panoptic_training', reason='the street is drawn by it')
    from panoptic_training.data.synthetic import SyntheticClip
    from panoptic_training.data.synthetic.labels import TEST_SEEDS

    draw_street(tmp_path / 'street', 3 / RATE_HZ)
    source = BagImages(tmp_path / 'street', (), STREET_BESIDE, loop=True)
    assert source.beside == STREET_BESIDE
    assert source.rate_hz == pytest.approx(RATE_HZ)
    clip = SyntheticClip(TEST_SEEDS[STREETS[0]], SIZE, RATE_HZ)
    for i, timed in enumerate(islice(source.images(), 6)):
        assert timed.time_s == pytest.approx(i / RATE_HZ)
        beside = {one.name: one for one in timed.beside}
        assert all(one.offset_ns == 0 for one in timed.beside)
        frame = clip.frame(i % 3)
        depth = read_depth(beside[COMPRESSED_DEPTH_INPUT].message).metres(np.s_[:, :])
        is_near = frame.depth < MAX_DEPTH_M
        assert np.abs(depth - frame.depth)[is_near].max() < 0.001
        assert np.isnan(depth[~is_near]).all()
        info = read_camera_info(beside[INFO_INPUT].message, rectified=False)
        assert np.array_equal(np.reshape(info.matrix, (3, 3)), frame.intrinsics)
        assert CameraModel(info).size == SIZE
