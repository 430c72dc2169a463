# SPDX-License-Identifier: Apache-2.0
"""Message making and publishing for `panoptic benchmark`."""

import array
import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.parameters import BY_NAME
from panoptic_ros.node.publishing import Output, publish_frame
from panoptic_ros.node.scene import Metres
from panoptic_ros.node.stages import Stage
from panoptic_ros.node.topics import OVERLAY, FrameSource, Topic, frame_topics
from panoptic_ros.ros.message_types import RosTypes, message_class
from panoptic_ros.ros.processes import Child, free_domain_id
from panoptic_ros.ros.publishers import Publishers, wait_for_subscriber

NEAR_MM, FAR_MM = 1_000, 30_000
"""Depth of the lowest and the highest row of the benchmark's depth image."""

PREFIX = '/panoptic_benchmark/'
"""Prefix of the topics' names."""

RECEIVER = 'panoptic_ros.ros.message_receiver'
"""Module of the subscriber in another process."""

RECEIVED = 'received'
"""First word of the receiver's line for a message."""

TIMEOUT_S = 20.0
"""Longest time until the receiver is found, and until it has the messages of an image, seconds."""

MATCH_S = 0.3
"""Time after which the receiver has found the publishers that have found it, seconds."""

logger = logging.getLogger(__name__)


class MessageSink:
    """Publisher of a frame's topics at camera resolution, with a subscriber for each.

    The overlay, which is for people, and the topics that need vision_msgs are left out.
    """

    def __init__(self, points_stride: int | None = None, other_process: bool = False) -> None:
        """Prepare the sink, which works as a context manager.

        Args:
            points_stride: each image also has a depth image, and this is the parameter
                `points.stride`; None leaves out everything in metres.
            other_process: the subscribers are in a process of their own, for which the middleware
                also copies each message into shared memory. The environment then is that of
                `isolated_ros`.
        """
        self._stride = points_stride
        self._other_process = other_process
        self._sent = 0  # messages of the present image
        self._arrivals: SimpleQueue[float] = SimpleQueue()

    def __enter__(self) -> 'MessageSink':
        self._context = Context()
        # In a domain of its own, so that no other node on this machine receives the messages.
        rclpy.init(args=[], context=self._context, domain_id=free_domain_id())
        with ExitStack() as stack:
            stack.callback(self._context.shutdown)
            node = benchmark_node('publisher', self._context)
            stack.callback(node.destroy_node)
            publishers = Publishers(node, PREFIX, _topics()).by_topic
            self._outputs = [
                Output(topic, topic.maker(RosTypes()), self._counted(publisher.publish))
                for topic, publisher in publishers.items()
            ]
            if self._other_process:
                domain = str(self.domain_id)
                stack.enter_context(Child('subscriber', RECEIVER, [domain], self._read))
                for topic, publisher in publishers.items():
                    wait_for_subscriber(publisher, topic.name, TIMEOUT_S)
                time.sleep(MATCH_S)
            else:  # without a subscriber the middleware would have nothing to do
                self._subscriptions = subscribe(node, lambda message: None)
            self._metres = Metres(lambda kind, text: logger.warning(text))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def domain_id(self) -> int:
        """ROS domain of the messages."""
        return int(self._context.get_domain_id())

    def send(
        self, image: CameraImage, frame: PanopticFrame, labels: LabelSet
    ) -> dict[Stage, float]:
        """See `panoptic_ros.benchmark.pipeline.Sink`.

        Raises:
            TimeoutError: if the other process does not receive all messages.
        """
        header, scene = Header(frame_id='camera'), None
        if self._stride is not None:
            settings = {name: setting.default for name, setting in BY_NAME.items()}
            self._receive_depth(header, *image.pixels.shape[:2])
            scene = self._metres.scene(header, frame, settings | {'points.stride': self._stride})
        source = FrameSource(header, image, frame, labels, 'camera', scene)
        self._sent = 0
        times = publish_frame(self._outputs, source, lambda topic: None)
        if self._other_process:
            published_s = time.monotonic()
            times[Stage.RECEIVE] = max(0.0, self._last_arrival_s() - published_s)
        return times

    def _counted(self, publish: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a function that publishes and counts."""

        def publish_one(message: Any) -> None:
            publish(message)
            self._sent += 1

        return publish_one

    def _last_arrival_s(self) -> float:
        """Wait for all messages of an image, and return when the last one was received."""
        try:
            return max(self._arrivals.get(timeout=TIMEOUT_S) for _ in range(self._sent))
        except Empty:
            raise TimeoutError(
                f'the subscriber in another process has not received all {self._sent} messages of '
                f'an image within {TIMEOUT_S:g} s; see `panoptic doctor`'
            ) from None

    def _read(self, line: str) -> None:
        """Take a line of the receiver, in a thread."""
        word, _, moment_s = line.partition(' ')
        if word == RECEIVED:
            self._arrivals.put(float(moment_s))
        else:
            print(line, file=sys.stderr)

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


def benchmark_node(name: str, context: Context | None = None) -> Node:
    """Return a node of the benchmark."""
    return Node(f'panoptic_benchmark_{name}', context=context, enable_rosout=False)


def subscribe(node: Node, receive: Callable[[Any], None]) -> list[Any]:
    """Subscribe to all topics of the benchmark.

    Args:
        node: owner of the subscriptions.
        receive: called with each message.
    """
    return [
        node.create_subscription(
            message_class(topic.kind), f'{PREFIX}{topic.name}', receive, topic.depth
        )
        for topic in _topics()
    ]


def _topics() -> list[Topic]:
    return [topic for topic in frame_topics(vision=False) if topic.name != OVERLAY]
