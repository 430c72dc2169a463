# SPDX-License-Identifier: Apache-2.0
"""Example of docs/robot.md that follows one person by id."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from example_process import EXAMPLES, import_example, run_example
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.node.messages import instances_message
from panoptic_ros.ros.message_types import RosTypes

EXAMPLE = EXAMPLES / 'follow_person.py'
PERSON = 2


def table(*people: tuple[int, int, int]):
    """Return rows of (track id, area, state), and a large wall."""
    rows = np.zeros(len(people) + 1, segment_dtype(4))
    rows[-1]['class_id'], rows[-1]['area'], rows[-1]['state'] = 1, 10_000, 2
    for row, (track_id, area, state) in zip(rows, people, strict=False):
        row['track_id'], row['area'], row['state'], row['class_id'] = track_id, area, state, PERSON
        row['bbox_x'], row['bbox_w'] = track_id * 10, 5
    return rows


def test_a_person_is_followed_until_lost_for_long():
    follower = import_example(EXAMPLE).Follower(patience_s=2.0)

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
def test_the_node_publishes_the_box(ros_domain):
    geometry = Geometry((8, 8), (8, 8), 1)
    frame = PanopticFrame(np.zeros((8, 8), np.uint16), table((7, 50, 2)), geometry, 1.0)
    message = instances_message(RosTypes(), Header(), frame)
    roi, said = run_example(
        EXAMPLE,
        {'class_name': 'ball'},
        'panoptic/instances',
        message,
        'follow/roi',
        RegionOfInterest,
    )
    assert (roi.x_offset, roi.width) == (70, 5)
    assert 'following ball #7' in said
    assert 'Traceback' not in said, said
