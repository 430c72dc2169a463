# SPDX-License-Identifier: Apache-2.0
"""Publishers of the node's topics, whose quality of service can be overridden."""

import time
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from panoptic_ros.node.topics import Topic
from panoptic_ros.ros.message_types import message_class

POLICIES = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
"""Policies that `qos_overrides.<topic>.publisher.*`, and `.subscription.*` of images, change."""


def overridable(policies: Iterable[QoSPolicyKind]) -> QoSOverridingOptions:
    """Allow ROS's parameters to change policies of a topic to values that are valid."""
    return QoSOverridingOptions(policies, callback=_check)


def _check(qos: QoSProfile) -> SetParametersResult:
    """Refuse values that the middleware would refuse without a reason."""
    unknown = [
        policy.name.lower()
        for policy in POLICIES
        if getattr(getattr(qos, policy.name.lower()), 'name', '') == 'UNKNOWN'
    ]
    if unknown:
        return SetParametersResult(successful=False, reason=f'{unknown[0]} is unknown')
    least = 1 if qos.history == QoSHistoryPolicy.KEEP_LAST else 0
    return SetParametersResult(
        successful=qos.depth >= least, reason=f'depth must be at least {least}, got {qos.depth}'
    )


def wait_for_subscriber(publisher: Any, topic: str, timeout_s: float) -> None:
    """Wait until somebody subscribes to a publisher's topic.

    Raises:
        RuntimeError: if nobody does within the timeout.
    """
    give_up_s = time.monotonic() + timeout_s
    while not publisher.get_subscription_count():
        if time.monotonic() > give_up_s:
            raise RuntimeError(f'nobody subscribed to {topic} for {timeout_s:.0f} s')
        time.sleep(0.05)


class Publishers:
    """Publishers of several topics."""

    def __init__(self, node: Node, prefix: str, topics: Iterable[Topic]) -> None:
        """Create all of them, or none.

        Args:
            node: owner of the publishers.
            prefix: prefix of the topics' names.
            topics: topics to publish; overrides cannot change whether a topic is latched.

        Raises:
            Exception: of several types, for an override that ROS refuses.
        """
        self._node = node
        self.by_topic: dict[Topic, Any] = {}
        try:
            for topic in topics:
                qos, policies = QoSProfile(depth=topic.depth), list(POLICIES)
                if topic.latched:
                    qos = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
                    policies.remove(QoSPolicyKind.DURABILITY)
                self.by_topic[topic] = node.create_publisher(
                    message_class(topic.kind),
                    f'{prefix}{topic.name}',
                    qos,
                    qos_overriding_options=overridable(policies),
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Destroy all publishers."""
        while self.by_topic:
            self._node.destroy_publisher(self.by_topic.popitem()[1])
