# SPDX-License-Identifier: Apache-2.0
"""Messages that replay writes equal those that the node publishes."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from rclpy.serialization import serialize_message
from replay_bags import TYPES, scene
from scenes import lidar_cloud, make_scene
from tiny_model import LABELS

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import read_info
from panoptic_ros.node.pipeline import Pipeline
from panoptic_ros.node.topics import FrameSource, frame_topics, label_topics
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.runtime import Predictor, open_backend
from panoptic_ros.tracking import Tracker


def agree(a, b) -> bool:
    """Return whether two messages of rosbags have the same values; NaN equals NaN."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == 'f')
    if isinstance(a, list):
        return len(a) == len(b) and all(map(agree, a, b))
    if hasattr(a, '__dataclass_fields__'):
        return all(
            agree(getattr(a, name), getattr(b, name))
            for name in a.__dataclass_fields__
            if name != '__msgtype__'
        )
    return type(a) is type(b) and a == b


def both(kind, make):
    """Return a message of ROS and one of rosbags, each serialised by its own library."""
    ros = serialize_message(make(RosTypes()))
    bag = TYPES.store.serialize_cdr(make(TYPES), kind)
    assert len(ros) == len(bag)
    return [TYPES.store.deserialize_cdr(bytes(data), kind) for data in (ros, bag)]


@pytest.mark.parametrize('scale', ['camera', 'network'])
@pytest.mark.parametrize('is_empty', [False, True])
def test_every_topic_of_a_frame(tiny_model, scale, is_empty):
    info = read_info(tiny_model)
    pipeline = Pipeline(Predictor(open_backend(tiny_model), info), Tracker())
    image = CameraImage(np.zeros_like(scene(0)) if is_empty else scene(0), 'rgb')
    frame = pipeline(image, 1.5).frame
    assert bool(len(frame.segments)) != is_empty
    for topic in frame_topics(RosTypes.vision):

        def make(types, topic=topic):
            header = types.make(
                'std_msgs/msg/Header',
                frame_id='front',
                stamp=types.make('builtin_interfaces/msg/Time', sec=3, nanosec=4),
            )
            size = frame.geometry.image_size
            metric = make_scene(
                frame, header, np.full(size, 2.5), lidar_cloud(size, 2.5, types=types)
            )
            return topic.maker(types)(FrameSource(header, image, frame, LABELS, scale, metric))

        if topic.name == 'panoptic/markers' and is_empty:
            assert make(RosTypes()) is make(TYPES) is None
            continue

        ros, bag = both(topic.kind, make)
        assert agree(ros, bag), topic.name
        stamped = bag.markers[0] if topic.name == 'panoptic/markers' else bag
        assert stamped.header.stamp.nanosec == 4


def test_what_class_ids_mean():
    for topic in label_topics(RosTypes.vision):

        def make(types, topic=topic):
            stamp = types.make('builtin_interfaces/msg/Time', sec=3)
            return topic.make(types, LABELS, 0.25, stamp)

        ros, bag = both(topic.kind, make)
        assert agree(ros, bag), topic.name


def test_both_know_of_the_same_packages():
    assert RosTypes.vision == TYPES.vision
