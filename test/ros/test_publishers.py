# SPDX-License-Identifier: Apache-2.0
"""Quality of service of the published topics."""

import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSReliabilityPolicy

from panoptic_ros.node.topics import Topic
from panoptic_ros.ros.publishers import Publishers

pytestmark = pytest.mark.ros


def topics(*names: str, latched: bool = False) -> list[Topic]:
    return [Topic(name, 'std_msgs/msg/String', '', print, latched) for name in names]


@pytest.fixture
def make_node(ros_domain):
    context = Context()
    rclpy.init(context=context)

    nodes = []

    def make(**overrides):
        nodes.append(
            rclpy.create_node(
                'publishers',
                context=context,
                parameter_overrides=[
                    Parameter(f'qos_overrides./a/one.publisher.{name}', value=value)
                    for name, value in overrides.items()
                ],
            )
        )
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def wait_for_publishers(node, topic: str, count: int) -> list:
    """Wait until a topic has `count` publishers; those of an earlier test may still be ending."""
    end_s = time.monotonic() + 30
    while len(infos := node.get_publishers_info_by_topic(topic)) != count:
        assert time.monotonic() < end_s, infos
        time.sleep(0.01)
    return infos


def qos_of(node, topic: str):
    (info,) = wait_for_publishers(node, topic, 1)
    return info.qos_profile


def test_topics_are_reliable_unless_overridden(make_node):
    node = make_node(
        reliability='best_effort', durability='transient_local', depth=50, history='keep_last'
    )
    publishers = Publishers(node, 'a/', topics('one', 'two'))
    qos = qos_of(node, '/a/one')
    assert qos.reliability == QoSReliabilityPolicy.BEST_EFFORT
    assert qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    assert node.get_parameter('qos_overrides./a/one.publisher.depth').value == 50
    qos = qos_of(node, '/a/two')
    assert qos.reliability == QoSReliabilityPolicy.RELIABLE
    assert qos.durability == QoSDurabilityPolicy.VOLATILE
    publishers.close()
    wait_for_publishers(node, '/a/one', 0)
    Publishers(node, 'a/', topics('one'))  # as after a cleanup
    assert qos_of(node, '/a/one').reliability == QoSReliabilityPolicy.BEST_EFFORT


def test_overrides_do_not_change_that_a_topic_is_latched(make_node):
    node = make_node(durability='volatile', depth=7)
    Publishers(node, 'a/', topics('one', latched=True))
    assert qos_of(node, '/a/one').durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    assert not node.has_parameter('qos_overrides./a/one.publisher.durability')


def test_a_refused_override_leaves_no_publisher(make_node):
    node = make_node(reliability='maybe')
    with pytest.raises(RuntimeError, match='reliability'):
        Publishers(node, 'a/', topics('two', 'one'))
    wait_for_publishers(node, '/a/one', 0)
    wait_for_publishers(node, '/a/two', 0)
