# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of a camera beside its images: depth, camera_info and a lidar's cloud."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode

from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.scene import Metres
from panoptic_ros.node.side_input import SideInput
from panoptic_ros.node.topics import CLOUD_INPUT, INFO_INPUT, INPUT_TYPES
from panoptic_ros.ros.image_input import DEPTH_IMAGES, ImageInput, input_overrides, input_qos
from panoptic_ros.ros.message_types import message_class
from panoptic_ros.spatial.camera_model import is_rectified


class SideInputs:
    """Subscriptions that fill a camera's `Metres`."""

    def __init__(
        self, node: LifecycleNode, prefix: str, metres: Metres, listen: Callable[[], bool]
    ) -> None:
        """Prepare the inputs; nothing is subscribed yet.

        Args:
            node: owner of the subscriptions.
            prefix: prefix of the topics; empty with one camera.
            metres: receives the messages.
            listen: called when a cloud or the tracker needs a transform, see `Transforms.listen`.
        """
        self._node, self._prefix, self._metres, self._listen = node, prefix, metres, listen
        self._depth = ImageInput(node, prefix, DEPTH_IMAGES)
        self._subscriptions: dict[str, Any] = {}  # by name of the input
        self._topics: dict[str, str] = {}

    def open(self, settings: Mapping[str, Any], image_topic: str) -> None:
        """Subscribe.

        Args:
            settings: the parameters' values.
            image_topic: full name of the camera's raw image topic. Unless it is remapped itself,
                camera_info is beside it, where drivers publish it.

        Raises:
            Exception: of several types, for a QoS override that ROS refuses; then nothing is
                subscribed.
        """
        self._needs_transform = not settings['cloud.extrinsic']
        rectified = is_rectified(image_topic)
        info_topic = f'{self._prefix}{INFO_INPUT}'
        if self._node.resolve_topic_name(info_topic) == self._node.resolve_topic_name(
            info_topic, only_expand=True
        ):
            info_topic = f'{image_topic.rpartition("/")[0]}/{INFO_INPUT}'
        if settings['tracker.odom_frame']:
            self._listen()
        try:
            self._depth.open(settings, partial(self._receive, self._metres.depth))
            self._subscribe(
                INFO_INPUT,
                info_topic,
                settings,
                lambda message: self._metres.calibration.receive(message, rectified),
            )
            self._subscribe(
                CLOUD_INPUT, f'{self._prefix}{CLOUD_INPUT}', settings, self._receive_cloud
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe."""
        self._depth.close()
        self._topics.clear()
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.popitem()[1])

    def topics(self, name: str) -> str:
        """Return the subscribed topics of `depth` or `cloud`, for people; empty without any.

        Any thread may call it; subscriptions may be destroyed meanwhile.
        """
        return self._topics.get(name, '') if name == CLOUD_INPUT else self._depth.topics

    def _subscribe(
        self, name: str, topic: str, settings: Mapping[str, Any], receive: Callable[[Any], None]
    ) -> None:
        topic = self._node.resolve_topic_name(topic)
        self._subscriptions[name] = self._node.create_subscription(
            message_class(INPUT_TYPES[name]),
            topic,
            receive,
            input_qos(settings),
            qos_overriding_options=input_overrides(self._node, topic),
        )
        self._topics[name] = topic

    def _receive_cloud(self, message: Any) -> None:
        if not self._needs_transform or self._listen():
            self._receive(self._metres.cloud, message)

    def _receive(self, target: SideInput, message: Any) -> None:
        """Hand a message over; called by the executor."""
        now_s = self._node.get_clock().now().nanoseconds * 1e-9
        target.receive(message, header_stamp_ns(message), now_s)
