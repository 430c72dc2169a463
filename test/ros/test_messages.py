# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from rclpy.qos import QoSDurabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header, String
from tiny_model import LABELS
from vision_messages import install_classes

from panoptic_ros.core.frame import Geometry, PanopticFrame, read_instances, segment_dtype
from panoptic_ros.node.messages import (
    ImageWriter,
    detections_message,
    instances_message,
    label_info_message,
    label_json_message,
)
from panoptic_ros.node.topics import label_topics
from panoptic_ros.ros.message_types import RosTypes, message_class
from panoptic_ros.ros.publishers import Publishers

TYPES = RosTypes()


def frame(count: int, embedding_dim: int = 3) -> PanopticFrame:
    """Return a frame whose rows have different values and whose map is void."""
    rows = np.zeros(count, segment_dtype(embedding_dim))
    for place, name in enumerate(rows.dtype.names):
        for i in range(count):
            rows[name][i] = 7 * place + i + 1
    rows['x'] = np.nan
    rows['is_thing'] = np.arange(count) % 2
    geometry = Geometry((48, 96), (24, 48), 4)
    return PanopticFrame(np.zeros(geometry.map_size, np.uint16), rows, geometry, 1.0)


def header() -> Header:
    value = Header(frame_id='front')
    value.stamp.sec, value.stamp.nanosec = 12, 34
    return value


@pytest.mark.parametrize('count', [0, 1, 5])
@pytest.mark.parametrize('embedding_dim', [1, 3])
def test_the_table_survives_the_wire_byte_for_byte(count, embedding_dim):
    given = frame(count, embedding_dim)
    message = deserialize_message(
        serialize_message(instances_message(TYPES, header(), given)), PointCloud2
    )
    assert message.header == header()
    assert bytes(message.data) == given.segments.tobytes()
    assert [field.name for field in message.fields] == list(given.segments.dtype.names)
    assert (message.width, message.height) == (count, 1)
    assert message.row_step == count * message.point_step
    rows = read_instances(message)
    assert rows.dtype == given.segments.dtype
    assert rows.tobytes() == given.segments.tobytes()  # NaN is not equal to itself


def test_an_image_is_written_in_place_and_follows_the_size():
    writer = ImageWriter(TYPES)
    for height, width in ((4, 6), (4, 6), (6, 4), (2, 2)):
        value = height * 10 + width
        pixels = writer.pixels('rgb8', header(), (height, width))
        assert pixels.shape == (height, width, 3)
        assert np.shares_memory(pixels, np.frombuffer(writer.message.data, np.uint8))
        pixels[:] = value
        message = deserialize_message(serialize_message(writer.message), Image)
        assert (message.height, message.width, message.step) == (height, width, width * 3)
        assert (message.encoding, message.header) == ('rgb8', header())
        assert bytes(message.data) == bytes([value]) * (height * width * 3)


def test_mono16_has_the_machines_byte_order():
    writer = ImageWriter(TYPES)
    writer.pixels('mono16', header(), (1, 2))[:] = [[1, 300]]
    order = 'big' if writer.message.is_bigendian else 'little'
    assert bytes(writer.message.data) == b''.join(n.to_bytes(2, order) for n in (1, 300))


@pytest.fixture
def vision(monkeypatch):
    """Simulate a machine with vision_msgs."""
    message_class.cache_clear()
    install_classes(monkeypatch)
    monkeypatch.setattr(RosTypes, 'vision', True)
    yield
    message_class.cache_clear()


def test_classes_are_published_as_json_on_every_machine(vision):
    message = label_json_message(TYPES, LABELS, 0.25, None)
    assert isinstance(message, String)
    labels = LABELS.as_drawn().to_dicts()
    assert json.loads(message.data) == {'labels': labels, 'score_threshold': 0.25}
    assert json.loads(message.data)['labels'][2] == {
        'class_id': 2,
        'name': 'ball',
        'is_thing': True,
        'color': LABELS.colors[2].tolist(),
        'category_id': 24,
    }


def test_vision_msgs_has_the_names_too(vision):
    message = label_info_message(TYPES, LABELS, 0.5, header().stamp)
    assert [(c.class_id, c.class_name) for c in message.class_map] == list(enumerate(LABELS.names))
    assert (message.threshold, message.header.stamp) == (0.5, header().stamp)


@pytest.mark.parametrize('installed', [False, True])
def test_label_topics_are_published_under_their_own_names(vision, installed):
    """As the node does when a model is loaded; stand-ins of messages need one of publishers."""
    created = {}

    class Node:
        def create_publisher(self, kind, topic, qos, qos_overriding_options):
            assert qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
            created[topic] = kind

    Publishers(Node(), 'front/', label_topics(installed))
    assert created.pop('front/panoptic/label_info') is String
    assert [kind.__name__ for kind in created.values()] == ['LabelInfo'] * installed
    assert list(created) == ['front/panoptic/label_info_vision'] * installed


def test_detections_are_the_things_with_their_track_ids(vision):
    given = frame(4)
    message = detections_message(TYPES, header(), given)
    things = given.segments[[1, 3]]
    assert [d.id for d in message.detections] == [str(n) for n in things['track_id']]
    for detection, row in zip(message.detections, things, strict=True):
        assert detection.bbox.center.position.x == row['bbox_x'] + row['bbox_w'] / 2
        assert detection.bbox.center.position.y == row['bbox_y'] + row['bbox_h'] / 2
        assert (detection.bbox.size_x, detection.bbox.size_y) == (row['bbox_w'], row['bbox_h'])
        (result,) = detection.results
        assert result.hypothesis.class_id == str(row['class_id'])
        assert result.hypothesis.score == row['score']
    assert message.header == header()
