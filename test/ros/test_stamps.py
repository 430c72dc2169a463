# SPDX-License-Identifier: Apache-2.0
"""Camera whose driver does not set stamps."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

import time
from functools import partial
from itertools import count

import rclpy
from node_process import image_message
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from tiny_model import paint_scene

from panoptic_ros.node.model_loading import load_model
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.worker import Worker
from panoptic_ros.ros.camera import CameraSubscription, Received, process_images
from panoptic_ros.ros.transforms import Transforms
from panoptic_ros.tracking.clock import BACK, STILL, ZERO

ARRIVALS = count(50)
"""Times of arrival, in tenths of a second."""


@pytest.fixture
def camera(tiny_model, ros_domain):
    """Return a camera without a publisher; the test passes messages to it."""
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = LifecycleNode('stamps', context=context)
    settings = read_parameters(None) | {'model': str(tiny_model), 'tracker.max_age': 0.5}
    worker = Worker(['camera'])
    predictor = load_model(settings).predictor
    camera = CameraSubscription(node, 'camera', '', predictor, settings, worker, Transforms(node))
    camera.put = partial(worker.put, 'camera')
    worker.start(partial(process_images, {'camera': camera}))
    yield camera
    assert worker.stop(10)
    camera.publishers.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def process(camera, stamps_s, empty=False):
    """Process images that arrive at 10 Hz; return the last problem."""
    pixels = paint_scene(64, 128)
    if empty:
        pixels[:] = 200  # a wall
    for stamp_s in stamps_s:
        message = image_message(pixels, 0)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(
            round(stamp_s * 1e9), 10**9
        )
        camera.put(Received(message, next(ARRIVALS) / 10))
        while camera.counts.in_flight:
            time.sleep(0.001)
    counts = camera.counts
    assert counts.published == counts.received
    return camera.step.clock.problem


def counts(camera, *names):
    return tuple(getattr(camera.tracks, name) for name in names)


@pytest.mark.parametrize(('stamp_s', 'problem'), [(0, ZERO), (7, STILL)])
def test_tracks_end_though_stamps_do_not_advance(camera, stamp_s, problem):
    assert process(camera, [stamp_s] * 10) == problem
    assert counts(camera, 'confirmed', 'lost') == (2, 0)
    process(camera, [stamp_s] * 4, empty=True)
    assert counts(camera, 'coasting', 'lost') == (2, 0)  # 0.4 s of 0.5
    process(camera, [stamp_s] * 2, empty=True)
    assert counts(camera, 'lost') == (2,)


def test_a_late_stamp_keeps_tracks_and_an_early_one_starts_them_anew(camera):
    assert process(camera, [7.0, 7.1, 7.2, 7.1999, 7.3]) == ''
    assert counts(camera, 'confirmed', 'lost') == (2, 0)
    assert process(camera, [2.0]) == BACK
    assert counts(camera, 'lost') == (2,)
