# SPDX-License-Identifier: Apache-2.0
"""The example parameters of Nav2's semantic segmentation layer fit the node and its model."""

from pathlib import Path

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.resources import default_model
from panoptic_ros.node.topics import IMAGE, topic_types

EXAMPLE = Path(__file__).parents[1] / 'examples' / 'costmap' / 'nav2_semantic_layer.yaml'


def test_topics_and_classes_are_those_of_the_node():
    costmap = read_yaml(EXAMPLE)['local_costmap']['local_costmap']['ros__parameters']
    assert set(costmap['plugins']) <= set(costmap)
    layer = costmap['semantic_layer']
    camera = layer[layer['observation_sources']]
    kinds = topic_types(vision=True)
    for name, kind in (
        ('segmentation_topic', IMAGE),
        ('confidence_topic', IMAGE),
        ('labels_topic', 'vision_msgs/msg/LabelInfo'),
        ('pointcloud_topic', 'sensor_msgs/msg/PointCloud2'),
    ):
        assert kinds[camera[name].removeprefix('/')] == kind

    names = [name for kind in camera['class_types'] for name in camera[kind]['classes']]
    assert len(names) == len(set(names))
    assert {*names, 'sky'} == set(read_info(default_model()).labels.names)
    for kind in camera['class_types']:
        assert 0 <= camera[kind]['base_cost'] <= camera[kind]['max_cost'] <= 254
