# SPDX-License-Identifier: Apache-2.0
"""Example of docs/robot.md that follows one person by id."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'follow_person.py'
PERSON = 2


def example():
    spec = importlib.util.spec_from_file_location('follow_person', EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(*people: tuple[int, int, int]):
    """Return rows of (track id, area, state), and a large wall."""
    rows = np.zeros(len(people) + 1, segment_dtype(4))
    rows[-1]['class_id'], rows[-1]['area'], rows[-1]['state'] = 1, 10_000, 2
    for row, (track_id, area, state) in zip(rows, people, strict=False):
        row['track_id'], row['area'], row['state'], row['class_id'] = track_id, area, state, PERSON
        row['bbox_x'], row['bbox_w'] = track_id * 10, 5
    return rows


def test_a_person_is_followed_until_lost_for_long():
    follower = example().Follower(patience_s=2.0)

    def who(stamp_s, *people):
        row = follower.update(table(*people), PERSON, stamp_s)
        return None if row is None else int(row['track_id'])

    assert who(0.0) is None
    assert who(0.1, (3, 50, 1)) is None  # not confirmed yet
    assert who(0.2, (3, 50, 2), (4, 80, 2)) == 4  # the nearest
    assert who(0.3, (3, 90, 2), (4, 10, 2)) == 4  # stays, though another is nearer now
    assert who(0.4, (3, 90, 2)) is None  # hidden
    assert who(0.9, (3, 90, 2), (4, 10, 2)) == 4  # back
    assert who(2.8, (3, 90, 2)) is None
    assert who(3.0, (3, 90, 2)) == 3  # given up
    assert who(3.1, (4, 900, 2), (3, 1, 2)) == 3


@pytest.mark.ros
def test_the_node_publishes_the_box(ros_domain, tmp_path):
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from sensor_msgs.msg import PointCloud2, RegionOfInterest
    from std_msgs.msg import Header, String
    from tiny_model import LABELS

    from panoptic_ros.node.messages import instances_message, label_json_message
    from panoptic_ros.ros.message_types import RosTypes

    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node('follow_test', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    labels = node.create_publisher(String, 'panoptic/label_info', latched)
    labels.publish(label_json_message(RosTypes(), LABELS, 0.5, None))
    tables = node.create_publisher(PointCloud2, 'panoptic/instances', 5)
    found = []
    node.create_subscription(RegionOfInterest, 'follow/roi', found.append, 5)
    geometry = Geometry((8, 8), (8, 8), 1)
    frame = PanopticFrame(np.zeros((8, 8), np.uint16), table((7, 50, 2)), geometry, 1.0)
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), '--ros-args', '-p', 'class_name:=ball'],
        env=os.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end_s = time.monotonic() + 60
        while not found:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end_s
            tables.publish(instances_message(RosTypes(), Header(), frame))
            executor.spin_once(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        executor.shutdown(0)
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert (found[0].x_offset, found[0].width) == (70, 5)
    assert 'following ball #7' in said
    assert 'Traceback' not in said, said
