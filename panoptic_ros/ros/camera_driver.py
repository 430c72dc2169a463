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

import cv2
import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.images.messages import read_image
from panoptic_ros.node.topics import (
    BESIDE,
    COMPRESSED_INPUT,
    INPUT_TYPES,
    OWN_IMAGE_TOPICS,
    RAW_INPUT,
    RECORDED_INPUT,
)
from panoptic_ros.recordings.image_source import CompressedImage as CompressedFields
from panoptic_ros.recordings.image_source import ImageSource, RawImage
from panoptic_ros.recordings.open import open_source
from panoptic_ros.ros.beside import BesidePublishers
from panoptic_ros.ros.monitor import RECORDED_DEPTH
from panoptic_ros.ros.publishers import wait_for_subscriber

FRAME_ID = 'camera'

JPEG_QUALITY = 90

ACKNOWLEDGE_S = 5.0
"""Longest wait at the end until the recorder has the last images, seconds."""

WAIT_S = 400.0
"""Longest wait for subscribers, seconds; longer than the demo waits for the node's model."""


def main(args: list[str] | None = None) -> int:
    """Publish until the source ends or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--video', type=Path)
    kind.add_argument('--camera', type=int)
    kind.add_argument('--bag', type=Path)
    parser.add_argument('--loop', action='store_true')
    parser.add_argument('--record', action='store_true', help=f'publish {RECORDED_INPUT}, too')
    flags = parser.parse_args(args)
    try:
        source = open_source(
            flags.video,
            flags.camera,
            flags.bag,
            flags.loop,
            OWN_IMAGE_TOPICS,
            {name: INPUT_TYPES[name] for name in BESIDE},
        )
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node('demo_camera')
            _publish(node, source, flags.record)
            node.destroy_node()
        finally:
            rclpy.shutdown()
    except KeyboardInterrupt:
        pass
    except Exception as error:
        print(f'demo_camera: error: {error}', file=sys.stderr)
        return 2
    return 0


def _publish(node: Node, source: ImageSource, record: bool) -> None:
    """Publish each image when it is due, stamped with the current time.

    Depth and camera_info come before their image, and keep their distance to its stamp.
    """
    topic, kind = (COMPRESSED_INPUT, CompressedImage) if source.compressed else (RAW_INPUT, Image)
    publisher = node.create_publisher(kind, topic, qos_profile_sensor_data)
    beside = BesidePublishers(node, source.beside)
    recorded = None
    if record:
        recorded = node.create_publisher(CompressedImage, RECORDED_INPUT, RECORDED_DEPTH)
        wait_for_subscriber(recorded, RECORDED_INPUT, WAIT_S)
    for name, other in beside.by_name.items():
        wait_for_subscriber(other, name, WAIT_S)
    wait_for_subscriber(publisher, topic, WAIT_S)
    message, copy = kind(), CompressedImage()
    message.header.frame_id = FRAME_ID
    start_s = time.monotonic()
    try:
        for timed in source.images():
            _fill(message, timed.image)
            is_copied = recorded is not None and _fill_copy(copy, timed.image)
            if timed.time_s is not None:
                wait_s = start_s + timed.time_s - time.monotonic()
                if wait_s > 0:
                    time.sleep(wait_s)
                elif wait_s < -1 / source.rate_hz:
                    start_s -= wait_s  # a late camera does not catch up
            now = node.get_clock().now()
            for name, other, offset_ns in timed.beside:
                beside.publish(name, other, now.nanoseconds + offset_ns)
            message.header.stamp = now.to_msg()
            publisher.publish(message)
            if recorded and is_copied:
                copy.header = message.header
                recorded.publish(copy)
    finally:
        if recorded:
            recorded.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))


def _fill_copy(message: Any, image: RawImage | CompressedFields) -> bool:
    """Write an image into a CompressedImage; return False if it cannot be read."""
    if isinstance(image, RawImage):
        try:
            image = CompressedFields('jpeg', _jpeg(image))
        except ValueError:  # the node says why
            return False
    _fill(message, image)
    return True


def _jpeg(image: RawImage) -> npt.NDArray[np.uint8]:
    """Return an image as JPEG.

    Raises:
        ValueError: if it has an encoding that cannot be read.
    """
    pixels, order = read_image(image)
    if order == 'rgb':
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.reshape(-1)


def _fill(message: Any, image: RawImage | CompressedFields) -> None:
    """Write an image into a message that is used again."""
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
