# SPDX-License-Identifier: Apache-2.0
"""Distances on real RGB-D images, of segments marked by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_infos import camera_info, depth_image

from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.depth import read_depth
from panoptic_ros.spatial.points import depth_points
from panoptic_ros.spatial.positions import measure, sample_segments

DATA = Path(__file__).parents[3] / 'shared/data/rgbd'
FX, FY, CX, CY = 518.0, 519.0, 325.5, 253.5
SEGMENTS = {  # polygons in image 1, px, and the distance that they roughly have, m
    'armchair': ([(132, 150), (160, 146), (198, 152), (203, 200), (198, 262), (145, 262)], 4.5),
    'front chair': ([(360, 262), (420, 300), (490, 318), (512, 465), (440, 465), (400, 350)], 1.3),
    'table': ([(430, 300), (560, 262), (615, 270), (615, 430), (520, 370)], 1.7),
    'cabinet': ([(468, 80), (556, 66), (556, 165), (470, 160)], 4.3),
}
LABELS = LabelSet((Label('thing', True, (1, 2, 3), 1),))


@pytest.mark.skipif(not DATA.is_dir(), reason='needs shared/data next to the checkout')
def test_distances_of_hand_made_masks():
    units = cv2.imread(str(DATA / 'depth/1.pgm'), cv2.IMREAD_UNCHANGED)
    ids = np.zeros(units.shape, np.int32)
    for number, (polygon, _) in enumerate(SEGMENTS.values(), 1):
        cv2.fillPoly(ids, [np.array(polygon)], number)
    frame = make_frame(ids, dict.fromkeys(range(1, len(SEGMENTS) + 1), 0), LABELS)
    info = camera_info(k=(FX, 0, CX, 0, FY, CY, 0, 0, 1))
    camera = CameraModel(read_camera_info(info, rectified=False))
    depth = read_depth(depth_image(units, '16UC1'))
    samples = sample_segments(frame)
    result = measure(samples.ids, depth_points(depth, camera, samples.index), frame)
    for number, (_, roughly_m) in enumerate(SEGMENTS.values(), 1):
        inner = cv2.erode((ids == number).astype(np.uint8), np.ones((5, 5), np.uint8))
        v, u = np.nonzero(inner & (units > 0))
        z = units[v, u] / 1000
        expected = [np.median(axis) for axis in ((u - CX) / FX * z, (v - CY) / FY * z, z)]
        np.testing.assert_allclose(result.median[number - 1], expected, atol=0.02)
        assert abs(np.linalg.norm(expected) / roughly_m - 1) < 0.1, expected
        assert (result.low[number - 1] < expected).all()
        assert (expected < result.high[number - 1]).all()
