# SPDX-License-Identifier: Apache-2.0
"""Message making and publishing for `panoptic benchmark`."""

import rclpy
from rclpy.context import Context
from std_msgs.msg import Header

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.topics import OVERLAY, FrameSource, frame_topics
from panoptic_ros.ros.message_types import RosTypes, message_class
from panoptic_ros.ros.processes import free_domain_id


class MessageSink:
    """Publisher of a frame's topics at camera resolution, with a subscriber for each.

    The overlay, which is for people, and the topics that need vision_msgs are left out.
    """

    def __enter__(self) -> 'MessageSink':
        self._context = Context()
        # In a domain of its own, so that no other node on this machine receives the messages.
        rclpy.init(args=[], context=self._context, domain_id=free_domain_id())
        node = rclpy.create_node('panoptic_benchmark', context=self._context)
        topics = [topic for topic in frame_topics(vision=False) if topic.name != OVERLAY]
        # Without a subscriber the middleware would have nothing to do.
        self._subscriptions = [
            node.create_subscription(
                message_class(topic.kind), f'~/{topic.name}', lambda message: None, 1
            )
            for topic in topics
        ]
        self._publishers = [
            node.create_publisher(message_class(topic.kind), f'~/{topic.name}', 1)
            for topic in topics
        ]
        self._makers = [topic.maker(RosTypes()) for topic in topics]
        self._node = node
        return self

    def __exit__(self, *error: object) -> None:
        self._node.destroy_node()
        self._context.shutdown()

    @property
    def domain_id(self) -> int:
        """ROS domain of the messages."""
        return int(self._context.get_domain_id())

    def fill(self, image: CameraImage, frame: PanopticFrame, labels: LabelSet) -> None:
        """See `panoptic_ros.benchmark.pipeline.Sink`."""
        source = FrameSource(Header(), image, frame, labels, 'camera')
        self._messages = [make(source) for make in self._makers]

    def publish(self) -> None:
        """See `panoptic_ros.benchmark.pipeline.Sink`."""
        for publisher, message in zip(self._publishers, self._messages, strict=True):
            publisher.publish(message)
