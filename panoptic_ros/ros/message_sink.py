# SPDX-License-Identifier: Apache-2.0
"""The node's last two stages, for `panoptic benchmark`: messages, and publishing them."""

from __future__ import annotations

from types import TracebackType

import rclpy
from rclpy.context import Context
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.node.messages import ImageWriter, instances_message
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.ros.processes import free_domain_id


class MessageSink:
    """Publishes segments, semantic and instances at camera resolution, to a subscriber each."""

    def __enter__(self) -> MessageSink:
        self._context = Context()
        # A domain of its own: no node that runs here is to receive these messages.
        rclpy.init(args=[], context=self._context, domain_id=free_domain_id())
        node = rclpy.create_node('panoptic_benchmark', context=self._context)
        self._segments = ImageWriter(RosTypes(), 'mono16', 'u2')
        self._semantic = ImageWriter(RosTypes(), 'mono8', 'u1')
        types = {'segments': Image, 'semantic': Image, 'instances': PointCloud2}
        # Without a subscriber the middleware would have nothing to do.
        self._subscriptions = [
            node.create_subscription(kind, f'~/{name}', lambda message: None, 1)
            for name, kind in types.items()
        ]
        self._publishers = [
            node.create_publisher(kind, f'~/{name}', 1) for name, kind in types.items()
        ]
        self._node = node
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._node.destroy_node()
        self._context.shutdown()

    @property
    def domain_id(self) -> int:
        """The ROS domain of its messages."""
        return int(self._context.get_domain_id())

    def fill(self, frame: PanopticFrame) -> None:
        """See `panoptic_ros.benchmark.pipeline.Sink`."""
        header, size = Header(), frame.geometry.image_size
        frame.geometry.to_camera(frame.segment_map, self._segments.pixels(header, size))
        frame.geometry.to_camera(frame.semantic_map, self._semantic.pixels(header, size))
        self._messages = (
            self._segments.message,
            self._semantic.message,
            instances_message(RosTypes(), header, frame),
        )

    def publish(self) -> None:
        """See `panoptic_ros.benchmark.pipeline.Sink`."""
        for publisher, message in zip(self._publishers, self._messages, strict=True):
            publisher.publish(message)
