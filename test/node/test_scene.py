# SPDX-License-Identifier: Apache-2.0
"""Scenes: what is used of depth and lidar, and when it is computed."""

from types import SimpleNamespace as Message

import numpy as np
import pytest
from disc_frames import Disc, make_frame
from scenes import lidar_cloud, make_scene

from panoptic_ros.node.scene import Metres
from panoptic_ros.node.side_input import Mismatch

SIZE = (100, 200)
FRAME = make_frame(0.0, Disc(60, 50, 20), Disc(150, 50, 20), size=SIZE)
FRAME.segments['x'] = FRAME.segments['y'] = FRAME.segments['z'] = np.nan
CENTRES = np.array([60, 150])


def header(stamp_s=1, frame_id='camera'):
    return Message(stamp=Message(sec=stamp_s, nanosec=0), frame_id=frame_id)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def metres(warnings):
    return Metres(lambda kind, text: warnings.append(text))


def test_without_depth_and_cloud_there_is_no_scene(metres):
    assert make_scene(FRAME, header(), metres=metres) is None


def test_positions_come_from_depth(metres):
    scene = make_scene(FRAME, header(), np.full(SIZE, 2.5), metres=metres)
    rows = scene.frame.segments
    np.testing.assert_allclose(rows['z'], 2.5)
    np.testing.assert_allclose(rows['x'], (CENTRES - 100) * 2.5 / 200, atol=0.01)
    assert np.isnan(FRAME.segments['z']).all()  # the given frame is not changed
    assert metres.depth.used == 1
    missing = metres.depth.status('front', '', 1.0, active=True).values
    assert missing['segments too small'] == missing['segments without depth'] == '0'


def test_depth_of_few_pixels_is_used(metres):
    """As of a lidar that was projected into an image."""
    depth = np.zeros(SIZE)
    depth[1::2, 1::2] = 2.5
    scene = make_scene(FRAME, header(), depth, metres=metres)
    np.testing.assert_allclose(scene.frame.segments['z'], 2.5)


def test_segments_without_a_position_are_counted(metres):
    depth = np.full(SIZE, 2.5)
    depth[:, 100:] = 0
    scene = make_scene(FRAME, header(), depth, metres=metres)
    assert np.isnan(scene.frame.segments['z']).tolist() == [False, True]
    assert metres.depth.status('front', '', 1.0, True).values['segments without depth'] == '1'


def test_positions_come_from_a_lidar_where_there_is_no_depth(metres):
    scene = make_scene(FRAME, header(), cloud=lidar_cloud(SIZE, 3.0), metres=metres)
    rows = scene.frame.segments
    np.testing.assert_allclose(rows['z'], 3, atol=1e-5)
    np.testing.assert_allclose(rows['x'], (CENTRES - 100) * 3 / 200, atol=0.03)


def test_depth_takes_precedence(metres):
    scene = make_scene(FRAME, header(), np.full(SIZE, 2.5), lidar_cloud(SIZE, 3.0), metres=metres)
    assert (scene.frame.segments['z'] == 2.5).all()
    assert metres.cloud.used == 0


def test_parts_are_computed_once_and_only_when_needed(metres):
    scene = make_scene(FRAME, header(), np.full(SIZE, 2.5), metres=metres)
    assert metres.depth.used == 0
    for _ in range(2):
        assert scene.frame is scene.frame and scene.depth is scene.depth
    assert metres.depth.used == 1


@pytest.mark.parametrize(
    ('given', 'reason', 'words'),
    [
        ({'depth_m': np.zeros(SIZE)}, Mismatch.EMPTY, 'holds no depth'),
        ({'depth_m': np.full(SIZE, np.nan)}, Mismatch.EMPTY, 'holds no depth'),
        ({'depth_m': np.ones((90, 90))}, Mismatch.SIZE, 'register it'),
    ],
)
def test_unusable_depth_leaves_positions_unknown(metres, warnings, given, reason, words):
    scene = make_scene(FRAME, header(), metres=metres, **given)
    assert np.isnan(scene.frame.segments['z']).all() and scene.positions is None
    assert metres.depth.mismatches == {reason: 1} and words in warnings[0]


def test_depth_of_another_size_and_the_same_aspect_is_scaled(metres):
    depth = np.full((50, 100), 2.5)
    scene = make_scene(FRAME, header(), depth, metres=metres)
    assert (scene.frame.segments['z'] == 2.5).all()


def test_the_pose_of_the_camera_comes_from_tf(warnings):
    def transform(target, source, stamp):
        assert (target, source, stamp.sec) == ('odom', 'camera', 1)
        return np.diag([1.0, 2, 3, 1])

    metres = Metres(lambda kind, text: warnings.append(text), transform)
    settings = {'tracker.odom_frame': 'odom'}
    assert metres.view(header(), settings, SIZE) is None  # no depth
    make_scene(FRAME, header(), np.full(SIZE, 2.5), metres=metres)
    view = metres.view(header(), settings, SIZE)
    np.testing.assert_array_equal(view.odom_from_camera, np.diag([1, 2, 3, 1]))
    assert view.project(np.array([[2.0], [0], [1]])).T.tolist() == [[500, 50]]  # outside
    assert metres.view(header(), {'tracker.odom_frame': ''}, SIZE) is None and not warnings
    assert metres.view(header(), settings, (90, 200)) is None  # not that of camera_info
    assert 'camera_info is for images of 200 x 100' in warnings[0]
    metres.transform = None
    assert metres.view(header(), settings, SIZE) is None
    assert warnings[1:] == [
        'tracks are matched without tracker.odom_frame: tf2_ros is not installed; install it'
    ]


def test_a_cloud_needs_a_transform(warnings):
    asked = []

    def transform(target, source, stamp):
        asked.append((target, source, stamp.sec))
        raise ValueError('TF has no transform')

    for given, words in ((None, 'tf2_ros is not installed'), (transform, 'TF has no transform')):
        metres = Metres(lambda kind, text: warnings.append(text), given)
        cloud = lidar_cloud(SIZE, 3.0)
        scene = make_scene(FRAME, header(), cloud=cloud, metres=metres, cloud_extrinsic='')
        assert scene.cloud is None and metres.cloud.mismatches == {Mismatch.TRANSFORM: 1}
        assert words in warnings[-1]
    assert asked == [('camera', 'camera', 1)]


def test_a_transform_brings_the_cloud_to_the_camera(warnings):
    """The extrinsic of `make_scene`, as TF would give it."""
    matrix = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    metres = Metres(lambda kind, text: warnings.append(text), lambda *names: matrix)
    cloud = lidar_cloud(SIZE, 3.0)
    scene = make_scene(FRAME, header(), cloud=cloud, metres=metres, cloud_extrinsic='')
    np.testing.assert_allclose(scene.frame.segments['z'], 3, atol=1e-5)
    assert not warnings


def test_an_old_image_does_not_use_newer_depth(metres):
    make_scene(FRAME, header(5), np.full(SIZE, 2.5), metres=metres)
    scene = make_scene(FRAME, header(1), metres=metres)
    assert scene.depth is None and metres.depth.mismatches == {Mismatch.OFFSET: 1}
