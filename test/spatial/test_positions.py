# SPDX-License-Identifier: Apache-2.0
"""Positions and boxes of segments against a loop over pixels."""

import math

import cv2
import numpy as np
import pytest
from camera_infos import camera_info, depth_image

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.spatial import positions
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.depth import read_depth
from panoptic_ros.spatial.points import depth_points
from panoptic_ros.spatial.positions import NO_DEPTH, TOO_SMALL, inner_ids, measure, sample_segments

PLUMB_BOB = (-0.2, 0.05, 0.001, -0.0008, 0.0)


def make_frame(segment_map, geometry, ids):
    rows = np.zeros(len(ids), segment_dtype(0))
    rows['segment_id'] = ids
    return PanopticFrame(np.asarray(segment_map, np.uint16), rows, geometry, 0.0)


def random_scene(size, cells, stride, seed=0):
    """A frame of overlapping rectangles, a depth with holes, and the camera."""
    rng = np.random.default_rng(seed)
    geometry = Geometry(size, cells, stride)
    h, w = geometry.map_size
    segment_map = np.zeros((h, w), np.uint16)
    segment_map[h // 2 :] = 7
    for i in (1, 2, 3, 5):
        y, x = rng.integers(0, h // 2), rng.integers(0, w // 2)
        segment_map[y : y + h // 3, x : x + w // 4] = i
    depth = rng.uniform(1000, 4000, size).astype(int) + 3000 * (rng.random(size) < 0.03)
    depth[rng.random(size) < 0.2] = 0
    focal = 0.8 * size[1]
    k = (focal, 0, size[1] / 2, 0, focal, size[0] / 2, 0, 0, 1)
    info = camera_info(k=k, d=PLUMB_BOB, size=size)
    return (
        make_frame(segment_map, geometry, (7, 1, 3, 5, 2)),  # in an order of its own
        read_depth(depth_image(depth, '16UC1')),
        CameraModel(read_camera_info(info, rectified=False)),
    )


def measured(frame, depth, camera):
    samples = sample_segments(frame)
    return measure(samples.ids, depth_points(depth, camera, samples.index), frame)


def slow_points(frame, depth, camera, segment_id):
    """All points of the eroded mask, one pixel after the other."""
    id_map = frame.geometry.to_camera(frame.segment_map)
    height, width = id_map.shape
    rays = camera.ray_of(np.stack(np.meshgrid(range(width), range(height))).astype(float))
    points = []
    for v in range(height):
        for u in range(width):
            window = id_map[max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3]
            z = int(depth.values[v, u]) / 1000
            if (window == segment_id).all() and z > 0:
                x, y = rays[:, v, u]
                points.append((x * z, y * z, z))
    return np.array(points)


@pytest.mark.parametrize(
    ('size', 'cells', 'stride'),
    [((60, 80), (60, 80), 1), ((60, 80), (30, 40), 2), ((50, 90), (32, 48), 2)],
)
def test_median_and_box_are_those_of_all_pixels_of_a_small_image(size, cells, stride):
    frame, depth, camera = random_scene(size, cells, stride)
    result = measured(frame, depth, camera)
    for row, segment_id in enumerate(frame.segments['segment_id'].tolist()):
        points = slow_points(frame, depth, camera, segment_id)
        assert 5 <= len(points) <= positions.MAX_SEGMENT_SAMPLES
        np.testing.assert_allclose(result.median[row], np.median(points, axis=0), atol=1e-3)
        for corner, percent in ((result.low, 5), (result.high, 95)):
            ranked = np.sort(points, axis=0)
            expected = ranked[round((len(points) - 1) * percent / 100)]
            np.testing.assert_allclose(corner[row], expected, atol=1e-3)


def test_coarser_grids_of_large_segments_change_little(monkeypatch):
    """On a slanted plane the median of a grid differs by less than its step."""
    size = (240, 320)
    geometry = Geometry(size, size, 1)
    v, u = np.mgrid[:240, :320]
    segment_map = 1 + (u + v > 300)
    z = 2 + 0.01 * u + 0.005 * v
    camera = CameraModel(read_camera_info(camera_info(size=size), rectified=False))
    depth = read_depth(depth_image(z, '32FC1'))
    frame = make_frame(segment_map, geometry, (1, 2))
    exact = {}
    for name, most in (('all', 10**9), ('some', 500)):
        monkeypatch.setattr(positions, 'MAX_SEGMENT_SAMPLES', most)
        monkeypatch.setattr(positions, 'MAX_SAMPLES', 20_000 if name == 'some' else 10**9)
        positions._grid.cache_clear()
        samples = sample_segments(frame)
        exact[name] = measured(frame, depth, camera), np.bincount(samples.ids)
    positions._grid.cache_clear()
    (full, many), (thin, few) = exact['all'], exact['some']
    assert many[1:].min() > 30_000 and 100 < few[1:].min() <= few[1:].max() <= 500
    for name in ('median', 'low', 'high'):
        np.testing.assert_allclose(getattr(thin, name), getattr(full, name), atol=0.08)


@pytest.mark.parametrize(
    ('size', 'cells', 'stride'),
    [
        ((24, 40), (24, 40), 1),
        ((24, 40), (48, 80), 1),
        ((50, 90), (32, 48), 2),
        ((60, 90), (10, 15), 1),
    ],
)
def test_erosion_is_that_of_opencv_at_any_size_of_cells(size, cells, stride):
    """Also where cells are smaller than pixels; the edges of the image are not eroded."""
    geometry = Geometry(size, cells, stride)
    h, w = geometry.map_size
    rng = np.random.default_rng(3)
    segment_map = np.full((h, w), 300, np.uint16)
    for i in range(1, 9):
        y, x = rng.integers(0, h), rng.integers(0, w)
        segment_map[y : y + rng.integers(1, h // 2 + 2), x : x + rng.integers(1, w // 2 + 2)] = i
    id_map = geometry.to_camera(segment_map)
    low, high = (way(id_map, np.ones((5, 5), np.uint8)) for way in (cv2.erode, cv2.dilate))
    rows, cols = np.mgrid[: size[0], : size[1]].reshape(2, -1)
    ids = inner_ids(make_frame(segment_map, geometry, range(1, 9)), rows, cols)
    np.testing.assert_array_equal(ids.reshape(size), low * (low == high))


def test_segments_without_a_position_have_a_reason():
    segment_map = np.zeros((40, 60), np.uint16)
    segment_map[3:7, :30] = 1  # too small: nothing remains of it
    segment_map[10:30, :20] = 2  # without depth
    segment_map[10:30, 30:50] = 3
    segment_map[32:, :20] = 4  # 4 points with depth
    depth = np.full((40, 60), 2000)
    depth[10:30, :25] = 0
    depth[32:, :20] = 0
    depth[38, 3:7] = 2000
    frame = make_frame(segment_map, Geometry((40, 60), (40, 60), 1), (1, 2, 3, 4, 9))
    camera = CameraModel(read_camera_info(camera_info(size=(40, 60)), rectified=False))
    result = measured(frame, read_depth(depth_image(depth, '16UC1')), camera)
    assert result.missing == {TOO_SMALL: 2, NO_DEPTH: 2}  # id 9 is not in the map
    assert np.isnan(result.median).any(axis=1).tolist() == [True, True, False, True, True]
    assert np.isnan(result.low).any(axis=1).tolist() == [True, True, False, True, True]
    assert result.median[2, 2] == 2


def test_a_box_leaves_out_flying_pixels():
    rng = np.random.default_rng(0)
    points = rng.uniform((-1, 0, 5), (1, 1, 6), (1000, 3)).astype(np.float32)
    points[:40] = (0, 0, 30)
    frame = make_frame(np.ones((4, 4)), Geometry((4, 4), (4, 4), 1), (1,))
    result = measure(np.ones(1000, np.uint16), points.T, frame)
    assert 5.8 < result.high[0, 2] < 6 and 5 < result.low[0, 2] < 5.2
    assert abs(result.median[0, 2] - 5.5) < 0.05


def test_no_segments():
    frame = make_frame(np.zeros((4, 4)), Geometry((4, 4), (4, 4), 1), ())
    samples = sample_segments(frame)
    result = measure(samples.ids, np.zeros((3, 0), np.float32), frame)
    assert len(samples.ids) == 0 and result.median.shape == (0, 3)
    assert math.isclose(sum(result.missing.values()), 0)
