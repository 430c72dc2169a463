# SPDX-License-Identifier: Apache-2.0
"""The files for RViz and Foxglove show topics that the node has, with fields that they have."""

import json
from collections.abc import Iterator

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.resources import resource_file
from panoptic_ros.node.topics import IMAGE, topic_types
from panoptic_ros.spatial.lidar import LABEL_FIELDS
from panoptic_ros.spatial.points import POINT

KINDS = topic_types(vision=False)
MARKERS, CLOUD = 'visualization_msgs/msg/MarkerArray', 'sensor_msgs/msg/PointCloud2'
FIELDS = {'panoptic/points': set(POINT.names), 'panoptic/cloud': set(LABEL_FIELDS)}
SHOWN = {'panoptic/overlay': IMAGE, 'panoptic/markers': MARKERS} | dict.fromkeys(FIELDS, CLOUD)


def test_rviz_shows_overlay_markers_and_clouds():
    manager = read_yaml(resource_file('config/panoptic.rviz'))['Visualization Manager']
    displays = {display['Topic']['Value']: display for display in manager['Displays']}
    for topic, display in displays.items():
        assert KINDS[topic].rpartition('/')[2] == display['Class'].rpartition('/')[2]
        assert display['Enabled'] and display['Value']
        if 'Channel Name' in display:
            assert display['Channel Name'] in FIELDS[topic]
    assert {topic: KINDS[topic] for topic in displays} == SHOWN


def leaves(node: dict | str) -> Iterator[str]:
    """Yield the panels of a layout's tree."""
    if isinstance(node, str):
        yield node
    else:
        assert node['direction'] in ('row', 'column') and 0 < node['splitPercentage'] < 100
        yield from leaves(node['first'])
        yield from leaves(node['second'])


def test_foxgloves_layout_has_the_form_and_the_topics():
    """The form is what the open-source Foxglove Studio checks when it imports a layout."""
    layout = json.loads(resource_file('config/foxglove.json').read_text())
    panels = layout['configById']
    assert isinstance(layout['globalVariables'], dict) and isinstance(layout['userNodes'], dict)
    assert isinstance(layout['playbackConfig']['speed'], int)
    assert sorted(leaves(layout['layout'])) == sorted(panels)
    kinds = {name.partition('!')[0]: panel for name, panel in panels.items()}
    assert set(kinds) == {'Image', '3D', 'DiagnosticSummary', 'RawMessages'}

    scene = kinds['3D']['topics']
    topics = [*scene, kinds['Image']['imageMode']['imageTopic']]
    assert {topic[1:]: KINDS[topic[1:]] for topic in topics} == SHOWN
    for topic, fields in FIELDS.items():
        assert scene[f'/{topic}']['colorField'] in fields
    assert kinds['DiagnosticSummary']['topicToRender'] == '/diagnostics'
    assert kinds['RawMessages']['topicPath'] == '/panoptic/label_info.data'
