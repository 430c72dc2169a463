"""Publishers of the node's topics, whose quality of service can be overridden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSDurabilityPolicy, QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from panoptic_ros.ros.messages import message_class

DEPTH = 5

POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY)
"""What `qos_overrides.<topic>.publisher.*` may change, and `.subscription.*` of images."""


class Publishers:
    """Publishers of several topics."""

    def __init__(self, node: LifecycleNode, prefix: str, types: Mapping[str, str],
                 latched: bool = False) -> None:
        """Create all of them, or none.

        Args:
            node: owns them.
            prefix: goes before the topics.
            types: message type by topic.
            latched: late subscribers get the last message, whatever the overrides are.

        Raises:
            Exception: of several kinds, for an override that ROS refuses.
        """
        self._node = node
        self.by_topic: dict[str, Any] = {}
        policies = [policy for policy in POLICIES
                    if not (latched and policy == QoSPolicyKind.DURABILITY)]
        try:
            for topic, kind in types.items():
                qos = (QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
                       if latched else QoSProfile(depth=DEPTH))
                self.by_topic[topic] = node.create_publisher(
                    message_class(kind), f'{prefix}{topic}', qos,
                    qos_overriding_options=QoSOverridingOptions(policies))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Destroy them."""
        while self.by_topic:
            self._node.destroy_publisher(self.by_topic.popitem()[1])
