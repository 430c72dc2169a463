# SPDX-License-Identifier: Apache-2.0
"""Rows that declare the node's topics."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_model import LABELS, paint_scene

from panoptic_ros.core.frame import read_instances
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelRemap
from panoptic_ros.node.topics import (
    LATCHED,
    OWN_IMAGE_TOPICS,
    TOPICS,
    FrameSource,
    frame_topics,
    label_topics,
    topic_types,
)
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.runtime.load import load

PLAIN = {
    'panoptic/segments': 'sensor_msgs/msg/Image',
    'panoptic/semantic': 'sensor_msgs/msg/Image',
    'panoptic/instances': 'sensor_msgs/msg/PointCloud2',
    'panoptic/confidence': 'sensor_msgs/msg/Image',
    'panoptic/overlay': 'sensor_msgs/msg/Image',
    'panoptic/label_info': 'std_msgs/msg/String',
    'diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
}
VISION = {
    'panoptic/detections': 'vision_msgs/msg/Detection2DArray',
    'panoptic/label_info_vision': 'vision_msgs/msg/LabelInfo',
}


@pytest.mark.parametrize(('vision', 'expected'), [(False, PLAIN), (True, PLAIN | VISION)])
def test_the_topics_that_robots_rely_on_keep_name_and_type(vision, expected):
    types = topic_types(vision)
    assert expected.items() <= types.items()  # there may be more
    assert vision or not any('vision_msgs' in kind for kind in types.values())


@pytest.mark.parametrize('vision', [False, True])
def test_each_topic_belongs_to_a_frame_or_to_the_classes(vision):
    names = [topic.name for topic in (*frame_topics(vision), *label_topics(vision))]
    assert sorted([*names, 'diagnostics']) == sorted(topic_types(vision))
    assert len(set(names)) == len(names)


def test_latched_topics_and_own_images_follow_from_the_rows():
    assert {'panoptic/label_info', 'panoptic/label_info_vision'} <= LATCHED
    assert {'panoptic/segments', 'panoptic/semantic', 'panoptic/overlay'} <= set(OWN_IMAGE_TOPICS)
    assert not set(OWN_IMAGE_TOPICS) & LATCHED
    assert all(topic.name.startswith('panoptic/') and topic.contents for topic in TOPICS)


def test_a_remap_reaches_all_topics(tiny_model):
    """The wall is not published, the floor is red, and void is 99."""
    types = BagTypes()
    remap = LabelRemap((7, None, 0, 254), ((255, 0, 0), None, None, None), void_id=99)
    labels = replace(LABELS, remap=remap)
    image = CameraImage(paint_scene(64, 128))
    frame = load(tiny_model, 'onnxruntime', 'cpu').predict(image)
    header = types.make('std_msgs/msg/Header')

    def publish(labels):
        source = FrameSource.of_model(header, image, frame, labels, 'camera')
        return {topic.name: topic.maker(types)(source) for topic in frame_topics(vision=False)}

    (info,) = (topic.make(types, labels, 0.5, None) for topic in label_topics(vision=False))
    listed = {entry['class_id']: entry for entry in json.loads(info.data)['labels']}
    assert {i: entry['name'] for i, entry in listed.items()} == {0: 'ball', 7: 'floor', 254: 'box'}
    assert listed[7]['color'] == [255, 0, 0]

    messages = publish(labels)
    semantic = messages['panoptic/semantic'].data.reshape(64, 128)
    classes = frame.geometry.to_camera(frame.semantic_map)
    np.testing.assert_array_equal(semantic, np.array([7, 99, 0, 254])[classes])
    rows = read_instances(messages['panoptic/instances'])
    assert rows['class_id'].tolist() == [7, 0, 254]
    segments = messages['panoptic/segments'].data.view(np.uint16).reshape(64, 128)
    np.testing.assert_array_equal(segments == 0, classes == 1)
    confidence = messages['panoptic/confidence'].data.reshape(64, 128)
    np.testing.assert_array_equal(confidence == 0, classes == 1)
    floor, plain = (
        m['panoptic/overlay'].data.reshape(64, 128, 3)[60, 4].astype(int)
        for m in (messages, publish(LABELS))
    )
    assert floor[0] > plain[0]
