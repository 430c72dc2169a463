# SPDX-License-Identifier: Apache-2.0
"""Subscriber in a process of its own, for `panoptic benchmark`.

`python -m panoptic_ros.ros.message_receiver <ROS domain>` prints a line for each message that it
has received: `RECEIVED`, and the seconds of `time.monotonic`, which processes share.
"""

import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException

from panoptic_ros.ros.message_sink import RECEIVED, benchmark_node, subscribe


def main() -> None:
    """Receive messages until SIGINT."""
    rclpy.init(args=[], domain_id=int(sys.argv[1]))
    node = benchmark_node('receiver')
    subscriptions = subscribe(node, lambda message: print(RECEIVED, time.monotonic()))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        del subscriptions
        if rclpy.ok():
            rclpy.shutdown()


if __name__ == '__main__':
    main()
