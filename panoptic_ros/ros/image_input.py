# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to images of a camera, raw or compressed."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from panoptic_ros.core.text import one_line
from panoptic_ros.node.meters import SILENT_S, Silence
from panoptic_ros.node.parameters import QOS_OVERRIDES
from panoptic_ros.node.topics import (
    COMPRESSED_DEPTH_INPUT,
    COMPRESSED_INPUT,
    DEPTH_INPUT,
    INPUT_TYPES,
    RAW_INPUT,
)
from panoptic_ros.ros.message_types import message_class
from panoptic_ros.ros.parameters import given_parameters, undeclared
from panoptic_ros.ros.publishers import POLICIES, overridable

logger = logging.getLogger(__name__)

KINDS = {'raw': INPUT_TYPES[RAW_INPUT], 'compressed': INPUT_TYPES[COMPRESSED_INPUT]}
"""Message type of each transport."""

CHECK_S = 1.0
"""Time between two checks whether images arrive, seconds."""


class ImageTopics(NamedTuple):
    """Topics of the same images in both transports."""

    raw: str
    compressed: str
    """`raw`, a slash and the transport."""

    what: str
    """Name of an image in messages."""

    optional: bool
    """Whether the images may never come."""


IMAGES = ImageTopics(RAW_INPUT, COMPRESSED_INPUT, 'image', optional=False)
DEPTH_IMAGES = ImageTopics(DEPTH_INPUT, COMPRESSED_DEPTH_INPUT, 'depth image', optional=True)


class ImageInput:
    """Subscriptions of one camera: to raw images, compressed ones, or with `auto` to both.

    With `auto` only the one that delivers first is kept, until it is silent; then both are
    subscribed again.
    """

    def __init__(self, node: LifecycleNode, prefix: str, images: ImageTopics = IMAGES) -> None:
        """Prepare the input; nothing is subscribed yet.

        Args:
            node: owner of the subscriptions.
            prefix: prefix of the topics; empty with one camera.
            images: which images.
        """
        self._node = node
        self._images = images
        self._prefix = prefix
        self._topics: dict[str, str] = {}  # by transport
        self._subscriptions: dict[str, Any] = {}
        self._timer: Any = None

    @property
    def topics(self) -> str:
        """Subscribed topics, for people; empty if there are none. Any thread may read it."""
        return ', '.join(self._topics[kind] for kind in list(self._subscriptions))

    def open(self, settings: Mapping[str, Any], receive: Callable[[Any], None]) -> None:
        """Subscribe.

        Args:
            settings: the parameters' values.
            receive: called with each message, in the executor.

        Raises:
            Exception: of several types, for a QoS override that ROS refuses; then nothing is
                subscribed.
        """
        transport = settings['input_transport']
        self._topics = {
            kind: topic
            for kind, topic in zip(KINDS, self._input_topics(), strict=True)
            if transport in ('auto', kind)
        }
        self._qos = input_qos(settings)
        self._silence = Silence(time.monotonic())
        self._is_silence_known = False
        self._delivers = ''
        try:
            self._subscribe(receive)
        except BaseException:
            self.close()
            raise
        # With a steady clock, since /clock may stand still.
        self._timer = self._node.create_timer(
            CHECK_S, partial(self._check, receive), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        if self._images.optional:
            return
        logger.info('subscribed to %s', self.topics)
        for name in undeclared(self._node):
            if name.startswith(QOS_OVERRIDES):
                logger.warning('%s has no effect: no topic of the node uses it', one_line(name))

    @property
    def raw_topic(self) -> str:
        """Full name of the raw topic."""
        return self._input_topics()[0]

    def close(self) -> None:
        """Unsubscribe; no reference to the receiver is kept."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        while self._subscriptions:
            self._unsubscribe(next(iter(self._subscriptions)))

    def _input_topics(self) -> tuple[str, str]:
        """Return raw and compressed topic; a remapping of the raw topic applies to both."""
        image, compressed = (
            f'{self._prefix}{name}' for name in (self._images.raw, self._images.compressed)
        )
        raw = self._node.resolve_topic_name(image)
        own = self._node.resolve_topic_name(compressed)
        remapped = own != self._node.resolve_topic_name(compressed, only_expand=True)
        return raw, own if remapped else raw + compressed.removeprefix(image)

    def _subscribe(self, receive: Callable[[Any], None]) -> None:
        """Subscribe to the topics that are not subscribed."""
        for kind, topic in self._topics.items():
            if kind not in self._subscriptions:
                self._subscriptions[kind] = self._node.create_subscription(
                    message_class(KINDS[kind]),
                    topic,
                    partial(self._take, kind, receive),
                    self._qos,
                    qos_overriding_options=input_overrides(self._node, topic),
                )

    def _unsubscribe(self, kind: str) -> None:
        self._node.destroy_subscription(self._subscriptions.pop(kind))

    def _take(self, kind: str, receive: Callable[[Any], None], message: Any) -> None:
        """Hand a message over; called by the executor."""
        if kind not in self._subscriptions:  # still arrived after the other transport was chosen
            return
        for other in self._subscriptions.keys() - {kind}:
            self._unsubscribe(other)
        now_s = time.monotonic()
        if kind != self._delivers:
            self._delivers = kind
            self._silence.begin(now_s)  # the time since the other's last image is no interval
            if len(self._topics) > 1:
                logger.info('%ss arrive on %s', self._images.what, self._topics[kind])
        self._silence.heard(now_s)
        self._is_silence_known = False
        receive(message)

    def _check(self, receive: Callable[[Any], None]) -> None:
        """Report a silence and subscribe to all topics again; called once per CHECK_S."""
        if self._is_silence_known or not self._silence.is_silent(time.monotonic()):
            return
        self._is_silence_known = True
        self._subscribe(receive)
        if not self._images.optional or self._delivers:
            logger.warning(
                'no %s for %.0f s; %s',
                self._images.what,
                SILENT_S,
                '; '.join(map(self._why_silent, self._topics)),
            )

    def _why_silent(self, kind: str) -> str:
        """Return why no message arrives on a topic, as far as the graph shows it."""
        topic, subscription = self._topics[kind], self._subscriptions[kind]
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return f'nobody publishes {topic}'
        kinds = {publisher.topic_type for publisher in publishers}
        if KINDS[kind] not in kinds:
            return f'{topic} is a {", ".join(sorted(kinds))}, expected {KINDS[kind]}'
        problems = [
            _qos_problem(publisher.qos_profile, subscription.qos_profile)
            for publisher in publishers
            if publisher.topic_type == KINDS[kind]
        ]
        if all(problems):
            return (
                f'the QoS of {topic} does not fit: {problems[0]}; change input_reliability '
                f'or {QOS_OVERRIDES}{topic}.subscription'
            )
        return f'{topic} has a publisher ({publishers[0].node_name}) that sends nothing'


def input_overrides(node: LifecycleNode, topic: str) -> QoSOverridingOptions:
    """Return which policies of an input may be overridden.

    ROS keeps the value of the first subscription for all later ones, so the reliability is left
    out unless an override is given: `input_reliability` may change in between.
    """
    given = given_parameters(node)
    return overridable(
        [
            policy
            for policy in POLICIES
            if policy != QoSPolicyKind.RELIABILITY
            or f'{QOS_OVERRIDES}{topic}.subscription.reliability' in given
        ]
    )


def input_qos(settings: Mapping[str, Any]) -> QoSProfile:
    """Return the quality of service of inputs: the newest message, by `input_reliability`."""
    reliable = settings['input_reliability'] == 'reliable'
    return QoSProfile(
        depth=1,
        reliability=QoSReliabilityPolicy.RELIABLE
        if reliable
        else QoSReliabilityPolicy.BEST_EFFORT,
    )


def _qos_problem(offered: QoSProfile, wanted: QoSProfile) -> str:
    """Return why a publisher and a subscription are incompatible; empty if they are not."""
    compatibility, reason = qos_check_compatible(offered, wanted)
    if compatibility != QoSCompatibility.ERROR:
        return ''
    return one_line(reason).removeprefix('ERROR: ').rstrip('; ')
