# SPDX-License-Identifier: Apache-2.0
"""Labels of lidar points against a loop over the points."""

from dataclasses import replace

import numpy as np
import pytest
from camera_infos import camera_info, point_cloud

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.lidar import (
    label_cloud,
    parse_extrinsic,
    project_cloud,
    read_cloud,
    transform_matrix,
)
from panoptic_ros.spatial.points import label_cells

SIZE = (48, 64)
K = (50.0, 0, 31.5, 0, 50, 23.5, 0, 0, 1)
MOUNT = '0.1 -0.2 0.05  0.5 -0.5 0.5 0.5'  # x forward, y left, z up, beside the camera
XYZ = np.random.default_rng(0).uniform((-5, -6, -4), (12, 6, 4), (2000, 3))


@pytest.fixture(scope='module')
def camera():
    info = camera_info(k=K, d=(-0.1, 0.02, 0, 0, 0), size=SIZE)
    return CameraModel(read_camera_info(info, rectified=False))


@pytest.fixture(scope='module')
def frame():
    geometry = Geometry(SIZE, (24, 32), 2)
    segment_map = np.random.default_rng(2).integers(0, 3, geometry.map_size).astype(np.uint16)
    rows = np.zeros(2, segment_dtype(0))
    rows['segment_id'], rows['class_id'], rows['track_id'] = (1, 2), (4, 9), (0, 77)
    rows['score'] = (0.5, 0.75)
    return PanopticFrame(segment_map, rows, geometry, 0.0)


def columns(kind='f4'):
    return {
        'intensity': np.arange(2000, dtype='u2'),
        'x': XYZ[:, 0].astype(kind),
        'y': XYZ[:, 1].astype(kind),
        'z': XYZ[:, 2].astype(kind),
        'ring': (np.arange(2000) % 32).astype('u1'),
    }


@pytest.mark.parametrize('kind', ['f4', 'f8'])
@pytest.mark.parametrize(
    'layout', [{}, {'big': True}, {'padding': 5, 'height': 20, 'row_padding': 12}]
)
def test_points_have_the_labels_of_their_pixels(camera, frame, kind, layout):
    cloud = read_cloud(point_cloud(columns(kind), **layout))
    transform = parse_extrinsic(MOUNT)
    seen = project_cloud(cloud, camera, transform)
    labelled = label_cloud(cloud, seen, label_cells(frame), frame)
    for name, values in columns(kind).items():
        np.testing.assert_array_equal(labelled[name], values)
    assert labelled.dtype['confidence'].byteorder == ('>' if layout.get('big') else '=')
    assert labelled.dtype.itemsize == cloud.rows.dtype.itemsize + 12
    segment_map = frame.geometry.to_camera(frame.segment_map)
    table = {0: (255, 0, 0), 1: (4, 0, 0.5), 2: (9, 77, 0.75)}
    in_image = 0
    for i, point in enumerate(XYZ):
        x, y, z = transform[:3, :3] @ point + transform[:3, 3]
        expected = table[0]
        r2 = (x * x + y * y) / z**2
        if z > 0 and r2 < 2:
            factor = 1 - 0.1 * r2 + 0.02 * r2**2
            u, v = 50 * x / z * factor + 31.5, 50 * y / z * factor + 23.5
            if -0.5 <= u < 63.5 and -0.5 <= v < 47.5:
                in_image += 1
                expected = table[int(segment_map[round(v), round(u)])]
        assert labelled[i][['class_id', 'track_id', 'confidence']].tolist() == expected
    assert in_image == len(seen.seen) > 40
    np.testing.assert_allclose(
        seen.points.T, (XYZ @ transform[:3, :3].T + transform[:3, 3])[seen.seen], atol=1e-5
    )


def test_missing_points_and_empty_clouds(camera, frame):
    frame = replace(frame, void_id=99)
    for xyz in (np.full((3, 3), np.nan), np.zeros((0, 3))):
        cloud = read_cloud(point_cloud(dict(zip('xyz', xyz.T.astype('f4'), strict=True))))
        seen = project_cloud(cloud, camera, np.eye(4))
        labelled = label_cloud(cloud, seen, label_cells(frame), frame)
        assert len(labelled) == len(xyz) and (labelled['class_id'] == 99).all()


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (('x', 'y', 'depth'), 'fields x, y, z of a float type, got x, y, depth'),
        (('x', 'y', 'z', 'class_id'), 'already has a field class_id; remap'),
    ],
)
def test_clouds_without_positions_or_with_labels_are_refused(names, words):
    message = point_cloud({name: np.zeros(2, 'f4') for name in names})
    with pytest.raises(ValueError, match=words):
        read_cloud(message)


def test_positions_must_be_floats():
    message = point_cloud({name: np.zeros(2, 'i4') for name in 'xyz'})
    with pytest.raises(ValueError, match='of a float type'):
        read_cloud(message)


def test_the_matrix_of_a_quaternion():
    """A quarter turn about z brings x to y; the length of the quaternion does not count."""
    matrix = transform_matrix([1, 2, 3], [0, 0, 5, 5])
    np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    q, v = np.array([0.1, -0.4, 0.2, 0.7]), np.array([0.3, 2, -1])
    q /= np.linalg.norm(q)
    turned = v + 2 * np.cross(q[:3], np.cross(q[:3], v) + q[3] * v)
    np.testing.assert_allclose(transform_matrix([0, 0, 0], q.tolist())[:3, :3] @ v, turned)


@pytest.mark.parametrize(
    'text', ['', '1 2 3', '0 0 0 0 0 0 0', '0 0 0 0 0 nan 1', 'a b c d e f g']
)
def test_wrong_extrinsics_are_refused(text):
    with pytest.raises(ValueError, match='must be seven numbers'):
        parse_extrinsic(text)
