# SPDX-License-Identifier: Apache-2.0
"""Tracks of a camera with depth whose pose TF gives; TF and side inputs are stand-ins."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

import numpy as np
import rclpy
from camera_infos import camera_info, depth_image
from node_process import image_message
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode

from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.model_loading import load_model
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.scheduler import Waiting
from panoptic_ros.node.worker import Worker
from panoptic_ros.ros.camera import CameraSubscription, Received, process_images

SIZE, DEPTH_M, FOCAL_PX = (64, 128), 2.0, 64.0
MOVED_M = 2.0
"""Move of the camera to the right, by which a ball comes to the place of the next one."""


class StandInTransforms:
    """TF in which the camera of the third image is MOVED_M further to the right."""

    def __init__(self):
        self.asked, self.listening = [], False

    def listen(self):
        self.listening = True
        return True

    def __call__(self, target, source, stamp):
        self.asked.append((target, source))
        if target != 'odom':
            raise ValueError(f'TF has no frame {target}; publish it')
        pose = np.eye(4)
        pose[0, 3] = MOVED_M * (stamp.nanosec > 150_000_000)
        return pose


@pytest.fixture
def open_camera(tiny_model, ros_domain):
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = LifecycleNode('odometry', context=context)
    opened = []

    def open_it(**changes):
        settings = read_parameters(None) | {'model': str(tiny_model), 'tracker.min_hits': 1}
        settings |= changes
        camera = CameraSubscription(
            node,
            'camera',
            '',
            load_model(settings).predictor,
            settings,
            Worker(['camera']),
            StandInTransforms(),
        )
        opened.append(camera)
        info = camera_info(k=(FOCAL_PX, 0, 64, 0, FOCAL_PX, 32, 0, 0, 1), size=SIZE)
        camera.metres.calibration.receive(info, rectified=False)
        camera.subscribe()
        return camera

    yield open_it
    for camera in opened:
        camera.unsubscribe()
        camera.publishers.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def balls_at(*columns):
    """Return an image of balls before a wall; of each half, one is found."""
    pixels = np.full((*SIZE, 3), 200, np.uint8)
    for column in columns:
        pixels[24:40, column : column + 16] = 255, 0, 0
    return pixels


def track_ids(camera, pixels, number, depth=True):
    """Process an image and return the ids of its balls from left to right."""
    message = image_message(pixels, number)
    if depth:
        values = depth_image(np.full(SIZE, DEPTH_M), '32FC1')
        camera.metres.depth.receive(values, header_stamp_ns(message), 0.0)
    frames, finish = [], camera.finish

    def noted(received, result):
        frames.append(result.frame)
        return finish(received, result)

    camera.finish = noted
    try:
        waiting = Waiting('camera', Received(message, number / 10))
        assert process_images({'camera': camera}, [waiting]) == [None]
    finally:
        camera.finish = finish
    rows = frames[0].segments[frames[0].segments['is_thing'] == 1]
    return rows['track_id'][np.argsort(rows['u'])].tolist()


@pytest.mark.parametrize(('odom_frame', 'expected'), [('odom', 2), ('', 1)])
def test_ids_survive_a_move_of_the_camera_by_the_distance_of_things(
    open_camera, odom_frame, expected
):
    camera = open_camera(**{'tracker.odom_frame': odom_frame})
    assert camera.metres.transform.listening is bool(odom_frame)
    for number in (0, 1):
        assert track_ids(camera, balls_at(16, 80), number) == [1, 2]
    assert track_ids(camera, balls_at(16), 2) == [expected]
    asked = [('odom', f'camera_{number}') for number in range(3)]
    assert camera.metres.transform.asked == (asked if odom_frame else [])


def test_each_image_uses_its_depth_once(open_camera):
    camera = open_camera(**{'tracker.odom_frame': 'odom'})
    for number in range(3):
        track_ids(camera, balls_at(16, 80), number)
    assert camera.metres.depth.used == 3


def test_without_transform_or_depth_tracks_are_matched_in_the_image(open_camera, caplog):
    camera = open_camera(**{'tracker.odom_frame': 'nowhere'})
    for number in range(3):
        assert track_ids(camera, balls_at(16, 80), number) == [1, 2]
    warnings = [r.message for r in caplog.records if 'odom_frame' in r.message]
    assert warnings == [
        'tracks are matched without tracker.odom_frame: TF has no frame nowhere; publish it'
    ]
    camera = open_camera(**{'tracker.odom_frame': 'odom'})
    assert track_ids(camera, balls_at(16, 80), 0, depth=False) == [1, 2]
    assert not camera.metres.transform.asked
