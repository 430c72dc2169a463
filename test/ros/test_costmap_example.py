# SPDX-License-Identifier: Apache-2.0
"""Example of docs/costmap.md that marks people and cars in an occupancy grid."""

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
pytest.importorskip('nav_msgs', reason='needs nav_msgs: pip install "panoptic_ros[test]"')

from example_process import EXAMPLES, import_example, run_example
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from panoptic_ros.spatial.points import POINT

EXAMPLE = EXAMPLES / 'costmap' / 'people_and_cars.py'
WALL, BALL, BOX = 1, 2, 3


@pytest.fixture(scope='module')
def example():
    return import_example(EXAMPLE)


def points(*rows: tuple[float, float, float, int, float]) -> np.ndarray:
    """Return points of (x, y, z, class id, confidence)."""
    cloud = np.zeros(len(rows), POINT)
    for point, (x, y, z, class_id, confidence) in zip(cloud, rows, strict=True):
        point['x'], point['y'], point['z'] = x, y, z
        point['class_id'], point['confidence'] = class_id, confidence
    return cloud


def slow_grid(cloud, class_ids, s) -> np.ndarray:
    """Return the grid by one look at each point, with the rotation as a matrix."""
    n = round(s.size_m / s.resolution_m)
    seen, marked = np.zeros((n, n), int), np.zeros((n, n), int)
    p = s.camera_pitch
    # Columns: where the optical x (right), y (down), z (forward) point on the robot.
    turn = np.array([[0, -math.sin(p), math.cos(p)], [-1, 0, 0], [0, -math.cos(p), -math.sin(p)]])
    for point in cloud:
        optical = np.array([point[name] for name in 'xyz'], float)
        if np.isnan(optical).any():
            continue
        x, y, z = turn @ optical + (s.camera_x, s.camera_y, s.camera_z)
        column, row = (math.floor((v + s.size_m / 2) / s.resolution_m) for v in (x, y))
        if not (0 <= column < n and 0 <= row < n):
            continue
        seen[row, column] += 1
        if (
            point['class_id'] in class_ids
            and point['confidence'] >= s.min_confidence
            and s.min_height_m <= z <= s.max_height_m
        ):
            marked[row, column] += 1
    return np.where(marked >= s.min_points, 100, np.where(seen > 0, 0, -1))


def test_a_grid_is_that_of_a_slow_reference(example):
    rng = np.random.default_rng(3)
    cloud = np.zeros(4000, POINT)
    for name, low, high in (('x', -7, 7), ('y', -2, 1), ('z', 0.3, 9), ('confidence', 0, 1)):
        cloud[name] = rng.uniform(low, high, len(cloud))
    cloud['class_id'] = rng.integers(0, 4, len(cloud))
    for name in 'xyz':
        cloud[name][::9] = np.nan
    settings = example.Settings(
        camera_x=0.23, camera_y=-0.1, camera_z=0.77, camera_pitch=0.3, size_m=12, resolution_m=0.5
    )
    grid = example.mark_obstacles(cloud, [BALL, BOX], settings)
    assert grid.dtype == np.int8 and {*np.unique(grid)} == {-1, 0, 100}
    np.testing.assert_array_equal(grid, slow_grid(cloud, [BALL, BOX], settings))


@pytest.mark.parametrize(
    ('class_id', 'y', 'confidence', 'count', 'expected'),
    [
        (BALL, 0.0, 0.9, 3, 100),
        (WALL, 0.0, 0.9, 3, 0),  # no obstacle of these classes
        (BALL, 0.0, 0.4, 3, 0),  # unsure
        (BALL, 0.0, 0.9, 2, 0),  # too few points
        (BALL, 0.45, 0.9, 3, 0),  # at the feet: ground
        (BALL, -1.6, 0.9, 3, 0),  # above the robot
        (BALL, math.nan, 0.9, 3, -1),  # no depth
    ],
)
def test_what_marks_a_cell(example, class_id, y, confidence, count, expected):
    z = math.nan if math.isnan(y) else 2.04
    cloud = points(*[(0.54, y, z, class_id, confidence)] * count)
    grid = example.mark_obstacles(cloud, [BALL], example.Settings())
    # 2.04 m ahead and 0.54 m to the right: the robot's y is negative.
    assert grid[100 - 6, 100 + 20] == expected
    assert (grid != -1).sum() == (expected != -1)


@pytest.mark.ros
def test_the_node_publishes_the_grid(example, ros_domain):
    cloud = points(
        *[(-1.0, 0, 3.04, BALL, 1)] * 5, (0, 0, 4.04, WALL, 1), (0, 0, math.nan, 255, 0)
    )
    message = PointCloud2(
        header=Header(frame_id='camera_optical'),
        height=1,
        width=len(cloud),
        point_step=POINT.itemsize,
        row_step=cloud.nbytes,
        data=cloud.tobytes(),
        fields=[
            PointField(name=name, offset=4 * i, datatype=7 if POINT[name] == '<f4' else 6, count=1)
            for i, name in enumerate(POINT.names)
        ],
    )
    message.header.stamp.sec = 12
    parameters = {'classes': '[ball, tree]', 'camera_x': 0.2, 'size_m': 10}
    grid, said = run_example(
        EXAMPLE, parameters, 'panoptic/points', message, 'costmap', OccupancyGrid
    )
    assert 'the model has no tree' in said and 'Traceback' not in said, said
    assert (grid.header.frame_id, grid.header.stamp.sec) == ('base_link', 12)
    assert (grid.info.width, grid.info.height) == (100, 100)
    assert grid.info.resolution == pytest.approx(0.1)
    cells = np.array(grid.data).reshape(100, 100)
    (row,), (column,) = np.nonzero(cells == 100)
    origin = grid.info.origin.position
    assert origin.x + column * 0.1 == pytest.approx(3.2)  # 3.04 m before a camera at 0.2 m
    assert origin.y + row * 0.1 == pytest.approx(1.0)
    assert (cells == 0).sum() == 1
