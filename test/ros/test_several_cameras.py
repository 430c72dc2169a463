# SPDX-License-Identifier: Apache-2.0
"""The node with two cameras as a process: topics, fairness, tracks, parameters and counts."""

import threading
import time
from itertools import count

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import NodeProcess, header, image_message
from sensor_msgs.msg import Image, PointCloud2
from tiny_model import make_tiny_model, paint_scene

from panoptic_ros import read_instances
from panoptic_ros.node.topics import frame_topics, label_topics

pytestmark = pytest.mark.ros

CAMERAS = ('front', 'rear')
COUNTS = ('received', 'published', 'in flight')


@pytest.fixture(scope='module')
def node(ros_domain, tiny_model, tmp_path_factory):
    process = NodeProcess(
        tmp_path_factory.mktemp('node') / 'log',
        {
            'model': tiny_model,
            'cameras': '[front, rear]',
            'input_reliability': 'reliable',
            'input_transport': 'raw',
            'rear.classes.include': '[ball]',
            'rear.output_scale': 'banana',
            'left.max_rate_hz': 3.0,
        },
    )
    yield process
    assert process.end() == 0, process.log
    assert 'Traceback' not in process.log


class Cameras:
    """Publishers of both cameras, and the instance tables that the node publishes for them."""

    def __init__(self, graph):
        self.graph = graph
        self.results = {name: [] for name in CAMERAS}
        self.images, self._subscriptions = {}, []
        for name in CAMERAS:
            self.images[name] = graph.node.create_publisher(Image, f'{name}/image', 10)
            self._subscriptions.append(
                graph.node.create_subscription(
                    PointCloud2, f'{name}/panoptic/instances', self.results[name].append, 500
                )
            )

    def wait_for_node(self) -> None:
        for name in CAMERAS:
            self.graph.wait_for_input(f'{name}/image')
            number = 0
            while not self.results[name]:  # until both sides have discovered each other
                number += 1
                self.images[name].publish(image_message(paint_scene(48, 96), number))
                self.graph.spin(0.3)
        self.graph.spin(0.5)

    def counts(self, name: str) -> dict[str, int]:
        """Return the counts of a camera, which must add up."""
        values = self.graph.status(f'input/{name}')[2]
        counts = {
            key: int(value)
            for key, value in values.items()
            if key in COUNTS or key.startswith('dropped ')
        }
        assert counts['received'] == sum(counts.values()) - counts['received'], counts
        return counts

    def close(self) -> None:
        for publisher in self.images.values():
            self.graph.node.destroy_publisher(publisher)
        for subscription in self._subscriptions:
            self.graph.node.destroy_subscription(subscription)


@pytest.fixture(scope='module')
def cameras(node, graph):
    node.wait_for_log('model is loaded')
    cameras = Cameras(graph)
    cameras.wait_for_node()
    yield cameras
    cameras.close()


def test_each_camera_has_its_topics_and_the_labels_are_common(cameras):
    names = dict(cameras.graph.node.get_topic_names_and_types())
    for topic in frame_topics(vision=False):
        assert {f'/{name}/{topic.name}' for name in CAMERAS} <= set(names)
        assert not cameras.graph.node.count_publishers(topic.name)
    for topic in label_topics(vision=False):
        assert cameras.graph.node.count_publishers(topic.name) == 1


def test_each_camera_has_its_own_statuses(cameras):
    cameras.graph.status('model')
    tasks = [status.name.split(': ')[1] for status in cameras.graph.diagnostics[-1].status]
    assert sorted(tasks) == [
        *(f'{task}/{name}' for task in ('cloud', 'depth', 'input') for name in CAMERAS),
        'memory',
        'model',
        *(f'{task}/{name}' for task in ('timing', 'tracking') for name in CAMERAS),
    ]
    for name in CAMERAS:
        assert cameras.graph.status(f'input/{name}')[2]['topics'] == f'/{name}/image'


def test_values_given_at_the_start_are_those_of_their_camera(cameras, node):
    front, rear = (read_instances(cameras.results[name][-1]) for name in CAMERAS)
    assert (len(front), len(rear)) == (4, 1)
    assert node.log.count('rear.output_scale must be one of camera, network') == 1
    assert 'ignored: left.max_rate_hz (the cameras are front, rear)' in node.log


def test_each_camera_has_its_own_tracks_and_headers(cameras):
    """Ids count up in each camera by itself, and a reset of time in one leaves the other alone."""
    for name in CAMERAS:
        cameras.results[name].clear()
    for i in range(5):
        for name in CAMERAS:
            message = image_message(paint_scene(48, 96), 1000 + i)
            message.header.frame_id = name
            cameras.images[name].publish(message)
            cameras.graph.until(lambda name=name, i=i: len(cameras.results[name]) > i)
    for name in CAMERAS:
        assert {message.header.frame_id for message in cameras.results[name]} == {name}
    tracks = {
        name: [set(read_instances(m)['track_id']) - {0} for m in cameras.results[name]]
        for name in CAMERAS
    }
    assert all(ids == tracks['rear'][0] for ids in tracks['rear'])
    for name, number in (('front', 1), ('rear', 1005)):
        cameras.images[name].publish(image_message(paint_scene(48, 96), number))
        cameras.graph.until(lambda name=name: len(cameras.results[name]) == 6)
    after = {
        name: set(read_instances(cameras.results[name][-1])['track_id']) - {0} for name in CAMERAS
    }
    assert after['rear'] == tracks['rear'][0]
    assert not after['front'] & tracks['front'][0]


def test_a_slow_camera_beside_a_fast_one_loses_nothing(cameras):
    """60 Hz and 5 Hz for 4 s; messages go out from a thread, so that the test can spin."""
    graph, seconds = cameras.graph, 4
    before = {name: cameras.counts(name) for name in CAMERAS}
    for name in CAMERAS:
        cameras.results[name].clear()
    scene = paint_scene(480, 960)
    fast, slow = image_message(scene, 0), image_message(scene, 0)

    def send():
        start_s = time.monotonic()
        for i in range(60 * seconds):
            time.sleep(max(0.0, start_s + i / 60 - time.monotonic()))
            fast.header = header(2000 + i)
            cameras.images['front'].publish(fast)
            if i % 12 == 0:
                slow.header = header(2000 + i)
                cameras.images['rear'].publish(slow)

    thread = threading.Thread(target=send)
    thread.start()
    while thread.is_alive():
        graph.spin(0.05)
    graph.until(lambda: len(cameras.results['rear']) == 5 * seconds)
    counts = {name: cameras.counts(name) for name in CAMERAS}
    for name in CAMERAS:
        graph.until(lambda name=name: not cameras.counts(name)['in flight'])
    rear = {key: counts['rear'][key] - before['rear'][key] for key in counts['rear']}
    assert rear == {**dict.fromkeys(rear, 0), 'received': 5 * seconds, 'published': 5 * seconds}
    numbers = [message.header.frame_id for message in cameras.results['rear']]
    assert numbers == [f'camera_{2000 + i}' for i in range(0, 60 * seconds, 12)]
    assert len(cameras.results['front']) > 5 * seconds


def test_a_rate_limits_its_camera_only_and_can_be_removed(cameras):
    graph = cameras.graph
    assert graph.set_parameter('rear.max_rate_hz', 1) == ''
    assert graph.get_parameter('rear.max_rate_hz') == 1

    numbers = count(5000)

    def published(images: int, *expected: str) -> tuple[dict[str, int], float]:
        """Send images of both cameras; return the numbers of results, and how long it took.

        The results of the expected cameras are waited for after each image.
        """
        start_s = time.monotonic()
        before = {name: cameras.counts(name)['published'] for name in CAMERAS}
        for _ in range(images):
            seen = {name: len(cameras.results[name]) for name in expected}
            for name in CAMERAS:
                message = image_message(paint_scene(48, 96), next(numbers))
                cameras.images[name].publish(message)
            graph.until(lambda s=seen: all(len(cameras.results[n]) > s[n] for n in s))
            graph.spin(0.1)
        found = {name: cameras.counts(name)['published'] - before[name] for name in CAMERAS}
        return found, time.monotonic() - start_s

    limited, seconds = published(12, 'front')
    assert limited['front'] == 12
    assert 1 <= limited['rear'] <= seconds + 2
    assert graph.set_parameter('rear.max_rate_hz', None) == ''
    assert graph.get_parameter('rear.max_rate_hz') is None
    assert published(8, *CAMERAS)[0] == {'front': 8, 'rear': 8}


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('rear.max_rate_hz', -1.0, 'out of range'),
        ('rear.max_rate_hz', 'x', "rear.max_rate_hz must be a number from 0 to 1000, got 'x'"),
        ('rear.classes.include', ['unicorn'], "camera rear: classes.include: unknown class 'unic"),
        ('rear.input_transport', 'auto', 'rear.input_transport is read-only while the node'),
        ('rear.backend', 'torch', 'rear.backend (all cameras share backend)'),
        ('left.max_rate_hz', 1.0, 'left.max_rate_hz (the cameras are front, rear)'),
        ('cameras', ['front'], 'cameras is read-only while the node is configured'),
    ],
)
def test_a_bad_value_of_a_camera_is_refused_and_not_kept(cameras, name, value, reason):
    before = cameras.graph.get_parameter(name)
    assert reason in cameras.graph.set_parameter(name, value)
    assert cameras.graph.get_parameter(name) == before


def test_bad_images_are_counted_and_reported_for_their_camera(cameras, node):
    graph, before = cameras.graph, {name: cameras.counts(name) for name in CAMERAS}
    cameras.images['rear'].publish(image_message(paint_scene(48, 96), 9000, encoding='odd'))
    graph.until(lambda: cameras.counts('rear')['dropped bad image'] == 1)
    assert "encoding 'odd' cannot be read" in graph.status('input/rear')[1]
    assert cameras.counts('front')['dropped bad image'] == before['front']['dropped bad image']
    node.wait_for_log("camera rear: bad image: encoding 'odd' cannot be read")


def test_cameras_and_model_change_between_configurations(cameras, node, tmp_path):
    """To one that takes two images at once."""
    graph, double = cameras.graph, make_tiny_model(tmp_path / 'double.onnx', batch=2)
    assert graph.change_state('deactivate')
    assert graph.change_state('cleanup')
    assert 'got front twice' in graph.set_parameter('cameras', ['front', 'front'])
    assert graph.set_parameter('cameras', ['left', 'rear']) == ''
    assert graph.set_parameter('model', str(double)) == ''
    assert graph.change_state('configure')
    assert graph.change_state('activate')
    graph.wait_for_input('left/image')
    graph.wait_for_input('front/image', 0)
    assert graph.get_parameter('left.max_rate_hz') == 3.0  # given at the start
    assert graph.set_parameter('left.max_rate_hz', 4.0) == ''
    cameras.results['rear'].clear()
    left = graph.node.create_publisher(Image, 'left/image', 10)
    try:
        number = 9100
        while len(cameras.results['rear']) < 3:
            number += 1
            for publisher in (left, cameras.images['rear']):
                publisher.publish(image_message(paint_scene(48, 96), number))
            graph.spin(0.2)
        assert len(read_instances(cameras.results['rear'][-1])) == 1  # the value of rear is kept
        assert cameras.counts('left')['published'] > 0
        assert cameras.counts('rear')['published'] > 0
    finally:
        graph.node.destroy_publisher(left)
