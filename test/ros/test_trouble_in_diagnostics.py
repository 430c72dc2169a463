# SPDX-License-Identifier: Apache-2.0
"""Faults around a live node, as its diagnostics report them."""

from itertools import count

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from diagnostic_msgs.msg import DiagnosticArray
from node_process import Graph, NodeProcess, image_message
from rclpy.duration import Duration
from sensor_msgs.msg import Image
from tiny_model import paint_scene

pytestmark = pytest.mark.ros


@pytest.fixture
def graph(ros_domain):
    graph = Graph(ros_domain)
    yield graph
    graph.close()


def feed(graph: Graph, message: Image, words: str, *, now: bool = False) -> None:
    """Publish images until the status of the input is an error with these words."""
    for number in count(1):
        stamp = graph.node.get_clock().now().to_msg() if now else message.header.stamp
        message.header.stamp = stamp
        if not now and stamp.sec:
            message.header.stamp.sec += 1
        graph.image.publish(message)
        graph.spin(0.05)
        if graph.diagnostics:
            said = {s.name: s for s in graph.diagnostics[-1].status}
            status = said.get('/panoptic_node: input/camera')
            if status and words in status.message:
                assert status.level == b'\x02', status.message
                return
        assert number < 600, (words, status and status.message)


def test_faults_of_the_camera_are_named_with_a_remedy(graph, tiny_model, tmp_path, monkeypatch):
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(name, raising=False)
    node = NodeProcess(
        tmp_path / 'log',
        {
            'model': tiny_model,
            'input_reliability': 'reliable',
            'input_transport': 'raw',
            'idle_after_s': 0.0,
        },
    )
    node.wait_for_log('subscribed to')
    graph.wait_for_input()
    old = image_message(paint_scene(48, 96), 1)
    feed(graph, old, 'stamps are of another clock: 1')
    depth = image_message(paint_scene(48, 96), 1, '16UC1')
    feed(graph, depth, 'remap `image` to the colour topic', now=True)
    unstamped = image_message(paint_scene(48, 96), 1)
    unstamped.header.stamp.sec = unstamped.header.stamp.nanosec = 0
    feed(graph, unstamped, 'the stamp is zero')

    # Stamps do not become wrong while a camera is silent.
    last = image_message(paint_scene(48, 96), 1)
    last.header.stamp = (graph.node.get_clock().now() - Duration(seconds=7)).to_msg()
    graph.image.publish(last)
    _, message, _ = graph.until(
        lambda: (s := graph.status('input/camera')) and 10.5 < float(s[2]['age s']) < 1000 and s
    )
    assert message.startswith('no image for') and 'another clock' not in message, message

    large = image_message(paint_scene(480, 640), 1)
    graph.until(
        lambda: (
            large.header.__setattr__('stamp', graph.node.get_clock().now().to_msg()),
            graph.image.publish(large),
            'FASTRTPS_DEFAULT_PROFILES_FILE' in graph.status('input/camera')[1],
        )[-1]
    )

    assert graph.set_parameter('max_age_ms', 1000.0) == ''
    feed(graph, old, 'all images are older than max_age_ms 1000; use_sim_time?')
    assert graph.set_parameter('max_age_ms', 0.0) == ''

    assert graph.enable(False).success
    level, message, values = graph.status('input/camera')
    assert (level, message) == (0, 'disabled')
    assert values['rate hz'] == values['age s'] == 'n/a'
    assert set(graph.status('timing')[2].values()) == {'n/a'}
    assert set(graph.status('tracking')[2].values()) == {'n/a'}
    assert node.end() == 0


def test_nodes_in_two_namespaces_are_distinct_even_without_a_clock(graph, tiny_model, tmp_path):
    for name in ('left', 'right'):
        (tmp_path / name).mkdir()
    nodes = [
        NodeProcess(
            tmp_path / name / 'log',
            {'model': tiny_model, 'use_sim_time': True},
            '-r',
            f'__ns:=/{name}',
        )
        for name in ('left', 'right')
    ]

    def named(array: DiagnosticArray) -> dict:
        return {status.name: status for status in array.status}

    clockless = {f'/{name}/panoptic_node: input/camera' for name in ('left', 'right')}
    graph.until(
        lambda: (
            clockless
            <= {
                name
                for array in graph.diagnostics
                for name, status in named(array).items()
                if '/clock' in status.message
            }
        )
    )
    for node in nodes:
        assert node.end() == 0
