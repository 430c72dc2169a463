# SPDX-License-Identifier: Apache-2.0
"""Images sent from one process to another, to try the middleware.

`python -m panoptic_ros.ros.image_trip send` and `... receive`, started together, each write a
line of JSON.
"""

import array
import json
import statistics
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from panoptic_ros.ros.message_types import message_class

TOPIC = 'panoptic_doctor/image'
HEIGHT, WIDTH = 1080, 1920
COUNT, PERIOD_S = 20, 0.05

FIND_S = 4.0
"""Longest time until the two processes have found each other, seconds."""

SILENCE_S = 0.7
"""Time after the last image after which no more are expected, seconds."""


def send(node: Node) -> dict[str, int]:
    """Publish the images, best effort as cameras do, once the receiver is there.

    Returns:
        `sent`, the number of images; 0 if no receiver was found.
    """
    image_class = message_class('sensor_msgs/msg/Image')
    publisher = node.create_publisher(image_class, TOPIC, qos_profile_sensor_data)
    image = image_class(height=HEIGHT, width=WIDTH, step=WIDTH * 3, encoding='rgb8')
    image.data = array.array('B', bytes(HEIGHT * WIDTH * 3))
    end_s = time.monotonic() + FIND_S
    while not publisher.get_subscription_count():
        if time.monotonic() > end_s:
            return {'sent': 0}
        time.sleep(0.02)
    time.sleep(0.2)  # the receiver has to find the sender too
    for _ in range(COUNT):
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        publisher.publish(image)
        time.sleep(PERIOD_S)
    time.sleep(SILENCE_S)
    return {'sent': COUNT}


def receive(node: Node) -> dict[str, float | None]:
    """Receive images until all have arrived or no more come.

    Returns:
        `received`, their number, and `p50_ms`, the median time from the call of publish until
        they were decoded; None without images.
    """
    times_ms: list[float] = []
    last_s = time.monotonic() + FIND_S

    def take(message: object) -> None:
        nonlocal last_s
        stamp = message.header.stamp  # type: ignore[attr-defined]
        times_ms.append(time.time() * 1e3 - stamp.sec * 1e3 - stamp.nanosec / 1e6)
        last_s = time.monotonic()

    node.create_subscription(
        message_class('sensor_msgs/msg/Image'), TOPIC, take, qos_profile_sensor_data
    )
    while len(times_ms) < COUNT and time.monotonic() < last_s + SILENCE_S:
        rclpy.spin_once(node, timeout_sec=0.1)
    p50_ms = round(statistics.median(times_ms), 1) if times_ms else None
    return {'received': len(times_ms), 'p50_ms': p50_ms}


def main() -> None:
    """Run the half that the command line names, and print its result."""
    half = {'send': send, 'receive': receive}[sys.argv[1]]
    rclpy.init()
    node = Node(
        f'panoptic_doctor_{sys.argv[1]}', enable_rosout=False, start_parameter_services=False
    )
    result = half(node)
    node.destroy_node()
    rclpy.shutdown()
    print(json.dumps(result))


if __name__ == '__main__':
    main()
