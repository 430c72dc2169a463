# SPDX-License-Identifier: Apache-2.0
"""Images of a live node whose outputs nobody subscribes to."""

import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import Graph, image_message
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from tiny_model import paint_scene

from panoptic_ros import read_instances

pytestmark = pytest.mark.ros

IDLE_AFTER_S = 1.0


@pytest.fixture
def node(graph, start, tiny_model):
    node = start(
        {
            'model': tiny_model,
            'input_reliability': 'reliable',
            'input_transport': 'raw',
            'idle_after_s': IDLE_AFTER_S,
        }
    )
    node.wait_for_log('model is loaded')
    graph.wait_for_input()
    yield node
    graph.subscribe()
    assert node.end() == 0, node.log
    assert 'Traceback' not in node.log


def publish(graph: Graph, number: int | None = None) -> Header:
    """Publish an image with the stamp of a number, else of now; return its header."""
    message = image_message(paint_scene(48, 96), number or 0)
    if number is None:
        message.header.stamp = graph.node.get_clock().now().to_msg()
    graph.image.publish(message)
    return message.header


def send(graph: Graph, number: int | None = None) -> Header:
    """Publish an image, and give it the time to arrive."""
    header = publish(graph, number)
    graph.spin(0.05)
    return header


def stay_idle(graph: Graph) -> dict[str, int]:
    """Send images until they count as idle, and a few more; return the counts before these."""
    while not graph.counts()['dropped idle']:
        send(graph)
    before = graph.counts()
    for _ in range(5):
        send(graph)
    after = graph.until(lambda: (c := graph.counts())['in flight'] == 0 and c)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {'received', 'dropped idle', 'in flight'}
    assert after['dropped idle'] >= before['dropped idle'] + 5
    return after


def result_of(graph: Graph, output: str, header: Header):
    return graph.until(
        lambda: next((m for m in graph.messages[output] if m.header == header), None)
    )


def track_ids(message) -> set[int]:
    rows = read_instances(message)
    return set(rows['track_id'][rows['is_thing'] == 1])


def test_images_are_not_processed_until_somebody_subscribes(graph, node):
    stay_idle(graph)
    stream = graph.node.create_timer(0.1, lambda: publish(graph))
    assert graph.status('input/camera')[:2] == (0, 'idle: nobody subscribes to an output')
    level, message, values = graph.status('timing')
    assert (level, message, set(values.values())) == (0, 'ok', {'n/a'})
    assert set(graph.status('tracking')[2].values()) == {'n/a'}
    graph.node.destroy_timer(stream)

    # The latched topic arrives and wakes nobody.
    graph.subscribe('label_info')
    graph.until(lambda: graph.messages['label_info'])
    before = stay_idle(graph)

    # The first image after the subscription is processed, and so are all that follow.
    graph.subscribe('overlay')
    graph.spin(1.0)  # the node discovers the subscription
    assert result_of(graph, 'overlay', send(graph))
    after = graph.counts()
    assert after['dropped idle'] == before['dropped idle']
    assert after['published'] == before['published'] + 1
    assert graph.status('input/camera')[1] != 'idle: nobody subscribes to an output'
    assert 'images/s' not in graph.status('timing')[1]  # one image is not a low rate


def test_a_short_pause_keeps_tracks_and_a_long_one_ends_them(graph, node):
    """By the images' stamps, of which 100 are 10 s."""

    def tracks_after_a_pause(number: int) -> set[int]:
        graph.subscribe()
        graph.until(lambda: graph.node.count_subscribers('panoptic/instances') == 0)
        before = graph.counts()['dropped idle']
        graph.until(lambda: send(graph, 5) and graph.counts()['dropped idle'] > before)
        graph.subscribe('instances')
        graph.spin(1.0)
        return track_ids(result_of(graph, 'instances', send(graph, number)))

    graph.subscribe('instances')
    graph.spin(1.0)
    for number in range(1, 5):
        header = send(graph, number)
    first = track_ids(result_of(graph, 'instances', header))
    assert len(first) == 2
    assert tracks_after_a_pause(6) == first
    assert min(tracks_after_a_pause(106)) > max(first)


def test_zero_never_idles_and_a_change_counts_at_once(graph, node):
    assert graph.set_parameter('idle_after_s', 0.0) == ''
    end_s = time.monotonic() + 3 * IDLE_AFTER_S
    while time.monotonic() < end_s:
        send(graph)
    counts = graph.counts()
    assert counts['published'] > 0
    assert counts['dropped idle'] == 0
    assert graph.set_parameter('idle_after_s', IDLE_AFTER_S) == ''
    stay_idle(graph)


def test_each_camera_is_idle_by_itself(graph, start, tiny_model):
    node = start({'model': tiny_model, 'cameras': '[front, rear]', 'idle_after_s': IDLE_AFTER_S})
    node.wait_for_log('model is loaded')
    message = image_message(paint_scene(48, 96), 0)
    images = [
        graph.node.create_publisher(Image, f'{name}/image', 10) for name in ('front', 'rear')
    ]
    results = []
    topic = 'rear/panoptic/instances'
    subscription = graph.node.create_subscription(PointCloud2, topic, results.append, 10)

    def publish() -> None:
        message.header.stamp = graph.node.get_clock().now().to_msg()
        for publisher in images:
            publisher.publish(message)

    stream = graph.node.create_timer(0.1, publish)
    graph.until(lambda: graph.status('input/front')[1].startswith('idle'))
    assert graph.status('input/rear')[2]['dropped idle'] == '0'
    seen = len(results)
    graph.until(lambda: len(results) > seen + 5)
    graph.node.destroy_timer(stream)
    graph.node.destroy_subscription(subscription)
    assert node.end() == 0
