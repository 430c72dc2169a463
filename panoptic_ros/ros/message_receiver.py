# SPDX-License-Identifier: Apache-2.0
"""Subscriber in a process of its own, for `panoptic benchmark`.

`python -m panoptic_ros.ros.message_receiver <ROS domain>` prints a line for each message that it
has received: `RECEIVED`, and the seconds of `time.monotonic`, which processes share.
"""

import sys
import time
from contextlib import suppress

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from panoptic_ros.ros.message_sink import RECEIVED, benchmark_node, subscribe


def main() -> None:
    """Receive messages until SIGINT."""
    context = Context()
    rclpy.init(args=[], context=context, domain_id=int(sys.argv[1]))
    node = benchmark_node('receiver', context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    subscriptions = subscribe(node, lambda message: print(RECEIVED, time.monotonic()))
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    del subscriptions


if __name__ == '__main__':
    main()
