# SPDX-License-Identifier: Apache-2.0
"""Rows that declare the node's topics."""

import pytest

from panoptic_ros.node.topics import (
    LATCHED,
    OWN_IMAGE_TOPICS,
    TOPICS,
    frame_topics,
    label_topics,
    topic_types,
)

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
