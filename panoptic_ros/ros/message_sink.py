# SPDX-License-Identifier: Apache-2.0
"""Message making and publishing for `panoptic benchmark`."""

import time

import rclpy
from rclpy.context import Context
from std_msgs.msg import Header

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.topics import OVERLAY, FrameSource, frame_topics
from panoptic_ros.ros.message_types import RosTypes, message_class
from panoptic_ros.ros.processes import free_domain_id
from panoptic_ros.ros.publishers import DEPTH, Publishers


class MessageSink:
    """Publisher of a frame's topics at camera resolution, with a subscriber for each.

    The overlay, which is for people, and the topics that need vision_msgs are left out. The
    subscribers are in this process; for one in another process the middleware also copies each
    message into shared memory.
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
                message_class(topic.kind), f'~/{topic.name}', lambda message: None, DEPTH
            )
            for topic in topics
        ]
        self._publishers = Publishers(node, '~/', topics)
        self._makers = {topic: topic.maker(RosTypes()) for topic in topics}
        self._node = node
        return self

    def __exit__(self, *error: object) -> None:
        self._node.destroy_node()
        self._context.shutdown()

    @property
    def domain_id(self) -> int:
        """ROS domain of the messages."""
        return int(self._context.get_domain_id())

    def send(
        self, image: CameraImage, frame: PanopticFrame, labels: LabelSet
    ) -> tuple[float, float]:
        """See `panoptic_ros.benchmark.pipeline.Sink`."""
        source = FrameSource(Header(), image, frame, labels, 'camera')
        making_s = publishing_s = 0.0
        # One after the other, like the node: a message is published while it is in the cache.
        for topic, publisher in self._publishers.by_topic.items():
            start_s = time.perf_counter()
            message = self._makers[topic](source)
            made_s = time.perf_counter()
            if message is not None:
                publisher.publish(message)
            making_s += made_s - start_s
            publishing_s += time.perf_counter() - made_s
        return making_s, publishing_s
