# SPDX-License-Identifier: Apache-2.0
"""Markers of successive images, with ROS's own messages."""

import numpy as np
import pytest

pytest.importorskip('visualization_msgs', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from disc_frames import Disc, make_frame
from scenes import make_scene, warn_nothing
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.node.markers import BOXES, LABELS, LIFETIME_S, VELOCITIES, MarkerWriter
from panoptic_ros.node.scene import Metres
from panoptic_ros.ros.message_types import RosTypes

SIZE = (100, 200)
CLASSES = LabelSet(
    (
        Label('car', True, (255, 0, 0), 1),
        Label('person', True, (0, 255, 0), 2),
        Label('road', False, (9, 9, 9), 3),
    ),
    own_colors=True,
)


class Camera:
    """A camera whose images are a tenth of a second apart."""

    def __init__(self) -> None:
        self.metres, self.writer, self.number = Metres(warn_nothing), MarkerWriter(RosTypes()), 0

    def show(self, *discs, tracks, depth_m=2.0):
        """Return the message of the next image and its markers by namespace and id."""
        self.number += 1
        header = Header(frame_id='camera')
        header.stamp.nanosec = self.number * 10**8
        frame = make_frame(self.number / 10, *discs, size=SIZE)
        frame.segments['track_id'] = tracks
        scene = make_scene(frame, header, np.full(SIZE, depth_m), metres=self.metres)
        message = self.writer(header, CLASSES, scene)
        markers = message.markers if message else []
        assert all(marker.header == header for marker in markers)
        return {(marker.ns, marker.id): marker for marker in markers}


def test_a_thing_has_a_box_and_a_label():
    markers = Camera().show(Disc(100, 50, 20), Disc(20, 20, 9, is_thing=False), tracks=[7, 0])
    assert set(markers) == {(BOXES, 7), (LABELS, 7)}
    box, label = markers[BOXES, 7], markers[LABELS, 7]
    assert (box.type, label.type) == (Marker.CUBE, Marker.TEXT_VIEW_FACING)
    # A disc of 20 px at 2 m, with 200 px as focal length, less 2 px and 5 % on each side.
    assert box.scale.x == pytest.approx(0.4 * 0.8, abs=0.05)
    assert box.pose.position.z == 2 and box.pose.orientation.w == 1 and box.scale.z > 0
    assert (box.color.r, box.color.g, box.color.b) == (1, 0, 0) and 0 < box.color.a < 1
    assert label.text == 'car 7  2.0 m'
    assert label.pose.position.y < box.pose.position.y - box.scale.y / 2
    for marker in markers.values():
        assert marker.action == Marker.ADD and marker.lifetime.sec == LIFETIME_S


def test_a_velocity_has_an_arrow_of_one_second():
    camera = Camera()
    for i in range(5):
        markers = camera.show(Disc(100, 50, 20), tracks=[7], depth_m=2 + 0.1 * i)
    arrow = markers[VELOCITIES, 7]
    assert arrow.type == Marker.ARROW and arrow.scale.x > 0
    start, end = arrow.points
    assert start.z == pytest.approx(2.4, abs=1e-5) and end.z - start.z == pytest.approx(
        1, abs=0.01
    )


def test_what_is_gone_is_deleted_once():
    camera = Camera()
    camera.show(Disc(60, 50, 20), Disc(150, 50, 20), tracks=[1, 2])
    markers = camera.show(Disc(150, 50, 20), tracks=[2])
    actions = {key: marker.action for key, marker in markers.items()}
    assert actions == {
        (BOXES, 1): Marker.DELETE,
        (LABELS, 1): Marker.DELETE,
        (BOXES, 2): Marker.ADD,
        (LABELS, 2): Marker.ADD,
    }
    assert set(camera.show(Disc(150, 50, 20), tracks=[2])) == {(BOXES, 2), (LABELS, 2)}
    assert {m.action for m in camera.show(tracks=[]).values()} == {Marker.DELETE}
    assert camera.show(tracks=[]) == {}


def test_things_without_a_position_have_no_marker():
    markers = Camera().show(Disc(100, 50, 20), Disc(20, 20, 2), tracks=[7, 8])
    assert set(markers) == {(BOXES, 7), (LABELS, 7)}
