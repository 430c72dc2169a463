# SPDX-License-Identifier: Apache-2.0
"""Example node that follows one person by track id and publishes the person's position.

Run it beside the node (`--ros-args -p class_name:=car` follows a car):

    python examples/follow_person.py

It publishes `follow/roi` (sensor_msgs/RegionOfInterest, camera pixels) for each image in which
the person is seen. It follows the person with the largest area in the image until that person has
not been seen for `patience_s`, and then chooses again.
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
    """Choice of the person to follow, without ROS."""

    def __init__(self, patience_s: float) -> None:
        self.track_id = 0
        """Track id of the person; 0 if nobody is followed."""
        self._patience_s = patience_s
        self._seen_s = 0.0

    def update(self, table: np.ndarray, class_id: int, stamp_s: float) -> np.void | None:
        """Return the followed person's row of the next instance table; None if not seen."""
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
    """Node that reads the instance tables and publishes the position of one person."""

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
            self.get_logger().error(f'the model has no {self._name!r}, only {", ".join(ids)}')

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
    """Run until Ctrl-C."""
    rclpy.init()
    node = FollowPerson()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:  # rclpy raises other kinds if Ctrl-C comes while it handles a message
        if rclpy.ok():
            raise
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
