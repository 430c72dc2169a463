# SPDX-License-Identifier: Apache-2.0
"""Camera driver of the demo: a process that publishes the images of a source at their rate.

`python -m panoptic_ros.ros.camera_driver --video street.mp4`
"""

import argparse
import array
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.node.topics import OWN_IMAGE_TOPICS
from panoptic_ros.recordings.image_source import ImageSource, RawImage, TimedImage
from panoptic_ros.recordings.open import open_source
from panoptic_ros.ros.publishers import wait_for_subscriber

FRAME_ID = 'camera'

WAIT_S = 20.0
"""Longest wait for a subscriber, seconds."""


def main(args: list[str] | None = None) -> int:
    """Publish until the source ends or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--video', type=Path)
    kind.add_argument('--camera', type=int)
    kind.add_argument('--bag', type=Path)
    parser.add_argument('--loop', action='store_true')
    flags = parser.parse_args(args)
    try:
        source = open_source(flags.video, flags.camera, flags.bag, flags.loop, OWN_IMAGE_TOPICS)
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node('demo_camera')
            _publish(node, source)
            node.destroy_node()
        finally:
            rclpy.shutdown()
    except KeyboardInterrupt:
        pass
    except Exception as error:
        print(f'demo_camera: error: {error}', file=sys.stderr)
        return 2
    return 0


def _publish(node: Node, source: ImageSource) -> None:
    """Publish each image when it is due, stamped with the current time."""
    topic, kind = ('image/compressed', CompressedImage) if source.compressed else ('image', Image)
    publisher = node.create_publisher(kind, topic, qos_profile_sensor_data)
    wait_for_subscriber(publisher, topic, WAIT_S)
    message = kind()
    message.header.frame_id = FRAME_ID
    start_s = time.monotonic()
    for timed in source.images():
        _fill(message, timed)
        if timed.time_s is not None:
            wait_s = start_s + timed.time_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            elif wait_s < -1 / source.rate_hz:
                start_s -= wait_s  # a late camera does not catch up
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)


def _fill(message: Any, timed: TimedImage) -> None:
    """Write an image into a message that is used again."""
    image = timed.image
    if isinstance(image, RawImage):
        message.height, message.width, message.step = image.height, image.width, image.step
        message.encoding, message.is_bigendian = image.encoding, image.is_bigendian
    else:
        message.format = image.format
    # Anything but array.array is checked element by element.
    if len(message.data) != image.data.nbytes:
        message.data = array.array('B', bytes(image.data.nbytes))
    if image.data.nbytes:
        np.frombuffer(message.data, np.uint8)[:] = image.data.reshape(-1)


if __name__ == '__main__':
    sys.exit(main())
