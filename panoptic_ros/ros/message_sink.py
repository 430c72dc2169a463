# SPDX-License-Identifier: Apache-2.0
"""Message making and publishing for `panoptic benchmark`."""

import array
import logging

import numpy as np
import rclpy
from rclpy.context import Context
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.parameters import BY_NAME
from panoptic_ros.node.publishing import Output, publish_frame
from panoptic_ros.node.scene import Metres
from panoptic_ros.node.stages import Stage
from panoptic_ros.node.topics import OVERLAY, FrameSource, frame_topics
from panoptic_ros.ros.message_types import RosTypes, message_class
from panoptic_ros.ros.processes import free_domain_id
from panoptic_ros.ros.publishers import Publishers

NEAR_MM, FAR_MM = 1_000, 30_000
"""Depth of the lowest and the highest row of the benchmark's depth image."""

logger = logging.getLogger(__name__)


class MessageSink:
    """Publisher of a frame's topics at camera resolution, with a subscriber for each.

    The overlay, which is for people, and the topics that need vision_msgs are left out. The
    subscribers are in this process; for one in another process the middleware also copies each
    message into shared memory.
    """

    def __init__(self, points_stride: int | None = None) -> None:
        """Prepare the sink, which works as a context manager.

        Args:
            points_stride: each image also has a depth image, and this is the parameter
                `points.stride`; None leaves out everything in metres.
        """
        self._stride = points_stride

    def __enter__(self) -> 'MessageSink':
        self._context = Context()
        # In a domain of its own, so that no other node on this machine receives the messages.
        rclpy.init(args=[], context=self._context, domain_id=free_domain_id())
        node = rclpy.create_node('panoptic_benchmark', context=self._context)
        topics = [topic for topic in frame_topics(vision=False) if topic.name != OVERLAY]
        # Without a subscriber the middleware would have nothing to do.
        self._subscriptions = [
            node.create_subscription(
                message_class(topic.kind), f'~/{topic.name}', lambda message: None, topic.depth
            )
            for topic in topics
        ]
        publishers = Publishers(node, '~/', topics).by_topic
        self._outputs = [
            Output(topic, topic.maker(RosTypes()), publisher.publish)
            for topic, publisher in publishers.items()
        ]
        self._metres = Metres(lambda kind, text: logger.warning(text))
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
    ) -> dict[Stage, float]:
        """See `panoptic_ros.benchmark.pipeline.Sink`."""
        header, scene = Header(frame_id='camera'), None
        if self._stride is not None:
            settings = {name: setting.default for name, setting in BY_NAME.items()}
            self._receive_depth(header, *image.pixels.shape[:2])
            scene = self._metres.scene(header, frame, settings | {'points.stride': self._stride})
        source = FrameSource(header, image, frame, labels, 'camera', scene)
        return publish_frame(self._outputs, source, lambda topic: None)

    def _receive_depth(self, header: Header, height: int, width: int) -> None:
        """Take a depth image and a camera_info of the image's size, as from a driver."""
        if self._metres.depth.is_received:
            return
        rows = np.geomspace(FAR_MM, NEAR_MM, height).astype('<u2')
        depth = Image(header=header, height=height, width=width, encoding='16UC1', step=2 * width)
        depth.data = array.array('B', np.repeat(rows, width).tobytes())
        info = CameraInfo(height=height, width=width)
        info.k = [float(width), 0.0, width / 2, 0.0, float(width), height / 2, 0.0, 0.0, 1.0]
        self._metres.calibration.receive(info, rectified=False)
        self._metres.depth.receive(depth, 0, 0.0)
