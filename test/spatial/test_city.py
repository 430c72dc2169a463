# SPDX-License-Identifier: Apache-2.0
"""Positions of cars in the synthetic city, whose depth and intrinsics are exact."""

import numpy as np
import pytest
from camera_infos import camera_info, depth_image

from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.depth import read_depth
from panoptic_ros.spatial.points import depth_points
from panoptic_ros.spatial.positions import measure, sample_segments

SIZE = (720, 1280)


@pytest.mark.parametrize('seed', [1, 4, 6, 9])
def test_the_middle_of_the_visible_surface_of_cars(seed):
    """Within 5 cm at about 10 m."""
    from panoptic_training.data.synthetic import LABELS, SyntheticClip

    frame = SyntheticClip(seed, SIZE)[30]
    car = LABELS.names.index('car')
    ids = np.where(frame.class_map == car, frame.track_map, 0)
    tracks = np.unique(ids[ids > 0])
    ids = np.searchsorted(tracks, ids) * (ids > 0) + (ids > 0)
    given = make_frame(ids, dict.fromkeys(range(1, len(tracks) + 1), car), LABELS)
    info = camera_info(k=frame.intrinsics.ravel(), size=SIZE)
    camera = CameraModel(read_camera_info(info, rectified=False))
    millimetres = np.rint(frame.depth * 1000) * (frame.depth < 60)
    depth = read_depth(depth_image(millimetres, '16UC1'))
    samples = sample_segments(given)
    result = measure(samples.ids, depth_points(depth, camera, samples.index), given)
    checked = 0
    for row, segment_id in enumerate(given.segments['segment_id'].tolist()):
        v, u = np.nonzero(given.segment_map == segment_id)
        z = frame.depth[v, u].astype(float)
        rays = np.linalg.inv(frame.intrinsics) @ np.stack([u, v, np.ones_like(u)])
        expected = np.median(rays * z, axis=1)  # of all visible pixels, not eroded
        if 8 < expected[2] < 12:
            assert np.linalg.norm(result.median[row] - expected) < 0.05
            checked += 1
    assert checked
