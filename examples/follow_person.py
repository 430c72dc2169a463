# SPDX-License-Identifier: Apache-2.0
"""Follows one person by track id, and publishes where they are.

Run it beside the node (`--ros-args -p class_name:=car` follows a car):

    python examples/follow_person.py

`follow/roi` (sensor_msgs/RegionOfInterest, camera pixels) is published for each image in which
the person is seen. Whoever is nearest (largest in the image) is followed until the node has lost
them for `patience_s`.
"""

import json

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2, RegionOfInterest
from std_msgs.msg import String

from panoptic_ros import read_instances

CONFIRMED = 2


class Follower:
    """Decides who is followed; knows nothing of ROS."""

    def __init__(self, patience_s: float) -> None:
        self.track_id = 0
        """Whom; 0 for nobody."""
        self._patience_s = patience_s
        self._seen_s = 0.0

    def update(self, table: np.ndarray, class_id: int, stamp_s: float) -> np.void | None:
        """The row of who is followed, in the next image's instance table; None if not seen."""
        people = table[(table['class_id'] == class_id) & (table['state'] == CONFIRMED)]
        row = people[people['track_id'] == self.track_id]
        if (
            not len(row)
            and len(people)
            and (self.track_id == 0 or stamp_s - self._seen_s > self._patience_s)
        ):
            row = people[[np.argmax(people['area'])]]
            self.track_id = int(row['track_id'][0])
        if not len(row):
            return None
        self._seen_s = stamp_s
        return row[0]


class FollowPerson(Node):
    """Reads the node's tables, and publishes the place of one person."""

    def __init__(self) -> None:
        super().__init__('follow_person')
        self._name = self.declare_parameter('class_name', 'person').value
        self._follower = Follower(self.declare_parameter('patience_s', 2.0).value)
        self._class_id: int | None = None
        self._roi = self.create_publisher(RegionOfInterest, 'follow/roi', 5)
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, 'panoptic/label_info', self._on_labels, latched)
        self.create_subscription(PointCloud2, 'panoptic/instances', self._on_instances, 5)

    def _on_labels(self, message: String) -> None:
        ids = {label['name']: label['class_id'] for label in json.loads(message.data)['labels']}
        self._class_id = ids.get(self._name)
        if self._class_id is None:
            self.get_logger().error(f'the model knows no {self._name!r}, only {", ".join(ids)}')

    def _on_instances(self, message: PointCloud2) -> None:
        if self._class_id is None:
            return
        stamp = message.header.stamp
        before = self._follower.track_id
        row = self._follower.update(
            read_instances(message), self._class_id, stamp.sec + stamp.nanosec * 1e-9
        )
        if self._follower.track_id != before:
            self.get_logger().info(f'following {self._name} #{self._follower.track_id}')
        if row is not None:
            self._roi.publish(
                RegionOfInterest(
                    x_offset=int(row['bbox_x']),
                    y_offset=int(row['bbox_y']),
                    width=int(row['bbox_w']),
                    height=int(row['bbox_h']),
                )
            )


def main() -> None:
    """Runs until Ctrl-C."""
    rclpy.init()
    node = FollowPerson()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
