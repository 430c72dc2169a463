# SPDX-License-Identifier: Apache-2.0
"""Publishers of the node's topics, whose quality of service can be overridden."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from panoptic_ros.node.topics import Topic
from panoptic_ros.ros.message_types import message_class

DEPTH = 5

POLICIES = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
"""What `qos_overrides.<topic>.publisher.*` may change, and `.subscription.*` of images."""


def overridable(policies: Iterable[QoSPolicyKind]) -> QoSOverridingOptions:
    """Let ROS's parameters change some policies of a topic, within what the middleware takes."""
    return QoSOverridingOptions(policies, callback=_check)


def _check(qos: QoSProfile) -> SetParametersResult:
    """Refuse what the middleware would refuse without saying why."""
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


class Publishers:
    """Publishers of several topics."""

    def __init__(self, node: LifecycleNode, prefix: str, topics: Iterable[Topic]) -> None:
        """Create all of them, or none.

        Args:
            node: owns them.
            prefix: precedes the topics' names.
            topics: what is published; overrides do not change that a topic is latched.

        Raises:
            Exception: of several types, for an override that ROS refuses.
        """
        self._node = node
        self.by_topic: dict[Topic, Any] = {}
        try:
            for topic in topics:
                qos, policies = QoSProfile(depth=DEPTH), list(POLICIES)
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
        """Destroy them."""
        while self.by_topic:
            self._node.destroy_publisher(self.by_topic.popitem()[1])
