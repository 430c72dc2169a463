# SPDX-License-Identifier: Apache-2.0
"""Clouds and 3-D detections, with ROS's own messages and stand-ins of vision_msgs."""

import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from disc_frames import Disc, make_frame
from scenes import lidar_cloud, make_scene
from std_msgs.msg import Header
from vision_messages import install_classes

from panoptic_ros.core.frame import read_instances
from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.metric_messages import CloudWriter, PointsWriter, detections_3d_message
from panoptic_ros.ros.message_types import RosTypes, message_class
from panoptic_ros.spatial.points import POINT

SIZE = (60, 80)
FRAME = make_frame(0.0, Disc(30, 30, 15), Disc(65, 30, 9, class_id=1), size=SIZE)
FRAME.segments['track_id'] = 3, 70_000
IMAGE = CameraImage(np.zeros((*SIZE, 3), np.uint8))
TYPES = RosTypes()
HEADER = Header(frame_id='camera')
DEPTH = np.full(SIZE, 2.0)
DEPTH[:20] = 0


def test_the_organised_cloud_is_written_in_place():
    writer = PointsWriter(TYPES)
    for stride in (1, 4, 4):
        message = writer(HEADER, IMAGE, make_scene(FRAME, HEADER, DEPTH, points_stride=stride))
        assert (message.height, message.width) == (60 // stride, 80 // stride)
        assert (message.point_step, message.row_step) == (28, 28 * message.width)
        assert message.header == HEADER and not message.is_dense and not message.is_bigendian
        rows = read_instances(message)
        assert rows.dtype.names == POINT.names
        expected = DEPTH[::stride, ::stride].ravel()
        np.testing.assert_array_equal(np.nan_to_num(rows['z']), expected)
    assert writer(HEADER, IMAGE, make_scene(FRAME, HEADER, DEPTH)) is message  # kept


def test_a_dense_cloud():
    scene = make_scene(FRAME, HEADER, DEPTH, points_stride=2, points_dense=True)
    message = PointsWriter(TYPES)(HEADER, IMAGE, scene)
    assert message.is_dense and message.height == 1
    assert message.width == (DEPTH[::2, ::2] > 0).sum()
    assert np.isfinite(read_instances(message)['x']).all()


def test_no_cloud_without_depth():
    scene = make_scene(FRAME, HEADER, cloud=lidar_cloud(SIZE, 2.0))
    assert PointsWriter(TYPES)(HEADER, IMAGE, scene) is None
    scene = make_scene(FRAME, HEADER, DEPTH)
    assert CloudWriter(TYPES)(scene) is None


def test_a_lidar_cloud_is_labelled_once():
    writer, cloud = CloudWriter(TYPES), lidar_cloud(SIZE, 2.0, step=3, types=TYPES)
    message = writer(make_scene(FRAME, HEADER, cloud=cloud))
    rows = read_instances(message)
    assert rows.dtype.names == ('x', 'y', 'z', 'class_id', 'track_id', 'confidence')
    assert message.point_step == cloud.point_step + 12 and message.width == cloud.width
    ids = FRAME.segment_map[::3, ::3].ravel()
    tracks = np.array([0, 3, 70_000])[ids]
    np.testing.assert_array_equal(rows['track_id'], tracks)
    assert writer(make_scene(FRAME, HEADER, cloud=cloud)) is None


def test_3d_detections_are_the_things_with_positions(monkeypatch):
    message_class.cache_clear()
    install_classes(monkeypatch)
    scene = make_scene(FRAME, HEADER, DEPTH)
    message = detections_3d_message(TYPES, HEADER, scene)
    message_class.cache_clear()
    rows, positions = scene.frame.segments, scene.positions
    assert [one.id for one in message.detections] == ['3', '70000']
    for i, detection in enumerate(message.detections):
        centre, size = detection.bbox.center.position, detection.bbox.size
        for axis, name in enumerate('xyz'):
            low, high = positions.low[i, axis], positions.high[i, axis]
            assert getattr(centre, name) == pytest.approx((low + high) / 2)
            assert getattr(size, name) == pytest.approx(high - low)
        (result,) = detection.results
        assert result.hypothesis.class_id == str(rows['class_id'][i])
        assert result.pose.pose.position.z == pytest.approx(2)
    assert message.header == HEADER
