# SPDX-License-Identifier: Apache-2.0
"""Organised cloud against a loop over pixels."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from camera_infos import camera_info, depth_image

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.depth import read_depth
from panoptic_ros.spatial.points import POINT, cloud_size, fill_cloud, label_cells, without_missing

SIZE = (31, 50)


@pytest.fixture(scope='module')
def scene():
    rng = np.random.default_rng(1)
    geometry = Geometry(SIZE, (20, 32), 2)
    segment_map = rng.integers(0, 4, geometry.map_size).astype(np.uint16)
    rows = np.zeros(3, segment_dtype(0))
    rows['segment_id'], rows['class_id'] = (1, 2, 3), (11, 7, 0)
    rows['track_id'], rows['score'] = (0, 70_000, 5), (0.5, 0.25, 1)
    frame = PanopticFrame(segment_map, rows, geometry, 0.0)
    depth = rng.integers(0, 9000, SIZE)
    depth[rng.random(SIZE) < 0.3] = 0
    k = (40.0, 0, 25, 0, 41, 15, 0, 0, 1)
    info = camera_info(k=k, d=(-0.1, 0.01, 0, 0, 0), size=SIZE)
    camera = CameraModel(read_camera_info(info, rectified=False))
    pixels = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    return frame, read_depth(depth_image(depth, '16UC1')), camera, pixels


def cloud_of(scene, stride=1, max_range_m=0.0, order='rgb', confidence=None):
    frame, depth, camera, pixels = scene
    if order == 'mono':
        pixels = pixels[..., 0]
    out = np.empty(cloud_size(SIZE, stride), POINT)
    labels = label_cells(replace(frame, confidence_map=confidence))
    fill_cloud(
        out, depth, camera, CameraImage(pixels, order), frame.geometry, labels, stride, max_range_m
    )
    return out


@pytest.mark.parametrize(('stride', 'order'), [(1, 'rgb'), (3, 'bgr'), (4, 'mono')])
def test_each_point_is_that_of_its_pixel(scene, stride, order):
    frame, depth, camera, pixels = scene
    cloud = cloud_of(scene, stride, order=order)
    assert cloud.shape == (-(-SIZE[0] // stride), -(-SIZE[1] // stride))
    segment_map = frame.geometry.to_camera(frame.segment_map)
    rays = camera.ray_of(np.stack(np.meshgrid(range(SIZE[1]), range(SIZE[0]))).astype(float))
    table = {int(row['segment_id']): row for row in frame.segments}
    for i, v in enumerate(range(0, SIZE[0], stride)):
        for j, u in enumerate(range(0, SIZE[1], stride)):
            point, z = cloud[i, j], int(depth.values[v, u]) / 1000
            x, y = rays[:, v, u]
            expected = (x * z, y * z, z) if z else (np.nan,) * 3
            np.testing.assert_allclose(point[['x', 'y', 'z']].tolist(), expected, atol=1e-3)
            r, g, b = pixels[v, u].tolist()
            r, g, b = {'rgb': (r, g, b), 'bgr': (b, g, r), 'mono': (r, r, r)}[order]
            packed = struct.unpack('<I', struct.pack('<f', point['rgb']))[0]
            assert packed == r << 16 | g << 8 | b
            row = table.get(int(segment_map[v, u]))
            labels = (
                (255, 0, 0) if row is None else row[['class_id', 'track_id', 'score']].tolist()
            )
            assert point[['class_id', 'track_id', 'confidence']].tolist() == labels


def test_confidence_of_cells_takes_the_place_of_that_of_segments(scene):
    frame = scene[0]
    confidence = np.arange(frame.segment_map.size, dtype=np.uint8).reshape(frame.segment_map.shape)
    cloud = cloud_of(scene, confidence=confidence)
    np.testing.assert_allclose(
        cloud['confidence'], frame.geometry.to_camera(confidence) / 255, rtol=1e-6
    )


def test_points_beyond_the_range_are_missing(scene):
    near, full = cloud_of(scene, max_range_m=5.0), cloud_of(scene)
    kept = full['z'] <= 5
    assert 0 < kept.sum() < (full['z'] > 0).sum()
    np.testing.assert_array_equal(np.isfinite(near['x']), kept)
    for name in POINT.names[3:]:
        np.testing.assert_array_equal(near[name], full[name])


def test_a_dense_cloud_has_the_points_with_a_position(scene):
    full = cloud_of(scene)
    dense = without_missing(full)
    assert dense.tolist() == [point.tolist() for point in full.ravel() if point['z'] > 0]
