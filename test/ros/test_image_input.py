# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of a camera, with real publishers and a short limit of silence."""

import re
import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.node import meters
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.ros import image_input
from panoptic_ros.ros.image_input import ImageInput

pytestmark = pytest.mark.ros

SETTINGS = read_parameters(None)
BEST_EFFORT, RELIABLE = (QoSReliabilityPolicy.BEST_EFFORT, QoSReliabilityPolicy.RELIABLE)


class Setup:
    """Node with an input and node with publishers; a topic has one type per context."""

    def __init__(self, context: Context, camera_context: Context) -> None:
        self._executor = SingleThreadedExecutor(context=context)
        self.context = context
        self.received: list = []
        self.camera = rclpy.create_node('camera', context=camera_context)

    def make(self, overrides: dict | None = None) -> ImageInput:
        """Return the input of a node that was started with these parameters."""
        self.node = rclpy.create_node(
            'input',
            context=self.context,
            parameter_overrides=[
                Parameter(name, value=value) for name, value in (overrides or {}).items()
            ],
        )
        self._executor.add_node(self.node)
        self.input = ImageInput(self.node, '')
        return self.input

    def close(self) -> None:
        self.input.close()
        self._executor.shutdown(0)
        self.node.destroy_node()
        self.camera.destroy_node()

    def qos(self) -> QoSProfile:
        """Return the QoS of the only subscription of `image`, after those of other tests."""

        def infos() -> list:
            return self.node.get_subscriptions_info_by_topic('/image')

        self.until(lambda: len(infos()) == 1)
        return infos()[0].qos_profile

    def open(self, **settings) -> None:
        self.input.open(SETTINGS | settings, self.received.append)

    def until(self, condition) -> None:
        end_s = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end_s, 'waited in vain'
            self._executor.spin_once(0.01)

    def until_received(self, publisher, kind: type) -> None:
        """Publish until a message arrives."""
        self.received.clear()

        def arrives() -> bool:
            publisher.publish(kind())
            return any(isinstance(message, kind) for message in self.received)

        self.until(arrives)


@pytest.fixture
def setup(ros_domain, monkeypatch):
    monkeypatch.setattr(meters, 'SILENT_S', 0.3)
    monkeypatch.setattr(meters, 'SILENT_INTERVALS', 0.0)
    monkeypatch.setattr(image_input, 'SILENT_S', 0.3)
    monkeypatch.setattr(image_input, 'CHECK_S', 0.05)
    contexts = Context(), Context()
    for context in contexts:
        rclpy.init(context=context)
    value = Setup(*contexts)
    yield value
    value.close()
    for context in contexts:
        rclpy.shutdown(context=context)


def test_auto_follows_whichever_topic_delivers(setup):
    input_ = setup.make()
    setup.open()
    assert input_.topics == '/image, /image/compressed'
    for _ in range(2):
        for kind, topic in ((Image, '/image'), (CompressedImage, '/image/compressed')):
            publisher = setup.camera.create_publisher(kind, topic, 5)
            setup.until_received(publisher, kind)
            assert input_.topics == topic
            setup.camera.destroy_publisher(publisher)  # the driver dies
    input_.close()
    assert input_.topics == ''


def test_a_requested_transport_is_the_only_one(setup, caplog):
    input_ = setup.make()
    setup.open(input_transport='compressed')
    setup.until(lambda: 'no image' in caplog.text)
    assert input_.topics == '/image/compressed'
    setup.until_received(
        setup.camera.create_publisher(CompressedImage, 'image/compressed', 5), CompressedImage
    )


@pytest.mark.parametrize(
    ('kind', 'qos', 'settings', 'reason'),
    [
        (None, None, {}, 'nobody publishes /image$'),
        (Image, QoSProfile(depth=1), {}, r'/image has a publisher \(camera\) that sends nothing$'),
        (
            CompressedImage,
            QoSProfile(depth=1),
            {},
            '/image is a sensor_msgs/msg/CompressedImage, expected sensor_msgs/msg/Image$',
        ),
        (
            Image,
            QoSProfile(depth=1, reliability=BEST_EFFORT),
            {'input_reliability': 'reliable'},
            'the QoS of /image does not fit: Best effort publisher and reliable subscription; '
            r'change input_reliability or qos_overrides\./image\.subscription$',
        ),
    ],
)
def test_silence_is_explained_once(setup, caplog, kind, qos, settings, reason):
    setup.make()
    if kind:
        setup.camera.create_publisher(kind, 'image', qos)
        setup.until(lambda: setup.node.count_publishers('image'))
    with caplog.at_level('INFO'):
        setup.open(input_transport='raw', **settings)
        assert 'subscribed to /image' in caplog.text
        setup.until(lambda: 'no image' in caplog.text)
        end_s = time.monotonic() + 0.6
        setup.until(lambda: time.monotonic() > end_s)
    (line,) = (line for line in caplog.messages if 'no image' in line)
    assert re.search(reason, line), line


def test_overrides_take_precedence_and_may_set_durability(setup):
    input_ = setup.make(
        {
            'qos_overrides./image.subscription.reliability': 'reliable',
            'qos_overrides./image.subscription.durability': 'transient_local',
            'qos_overrides./image.subscription.depth': 3,
        }
    )
    setup.open(input_transport='raw')
    assert setup.qos().reliability == RELIABLE
    assert setup.qos().durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    input_.close()
    setup.open(input_transport='raw', input_reliability='best_effort')
    assert setup.qos().reliability == RELIABLE


def test_a_changed_reliability_applies_at_the_next_start(setup):
    input_ = setup.make()
    for name, expected in (('best_effort', BEST_EFFORT), ('reliable', RELIABLE)):
        setup.open(input_transport='raw', input_reliability=name)
        assert setup.qos().reliability == expected
        input_.close()


def test_an_override_without_effect_is_reported(setup, caplog):
    setup.make(
        {'qos_overrides./imge.subscription.depth': 3, 'qos_overrides./image.subscription.depth': 3}
    )
    setup.open()
    assert [m for m in caplog.messages if 'has no effect' in m] == [
        'qos_overrides./imge.subscription.depth has no effect: no topic of the node uses it'
    ]


@pytest.mark.parametrize(
    ('policy', 'value', 'reason'),
    [
        ('reliability', 'maybe', 'reliability'),
        ('durability', 'unknown', 'durability is unknown'),
        ('depth', 0, 'depth must be at least 1, got 0'),
        ('depth', -1, 'depth must be at least 1, got -1'),
        ('depth', 'many', "expecting type 'INTEGER'"),
    ],
)
def test_a_refused_override_leaves_nothing_behind(setup, policy, value, reason):
    input_ = setup.make({f'qos_overrides./image/compressed.subscription.{policy}': value})
    with pytest.raises(Exception, match=reason):  # ROS has a class of its own for each
        setup.open()
    assert input_.topics == ''
    setup.until(lambda: not setup.node.count_subscribers('/image'))
