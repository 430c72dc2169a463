# SPDX-License-Identifier: Apache-2.0
"""Camera driver with depth, run as a process: `python -m soak.camera front`."""

import array
import signal
import sys
import time

import numpy as np
import rclpy
from camera_infos import depth_image
from node_process import image_message
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from tiny_model import paint_scene

HEIGHT, WIDTH, FOCAL = 96, 192, 150.0

RATE_HZ = 5.0


def main() -> None:
    """Publish image, depth and camera_info at a steady rate until Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    name = sys.argv[1]
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f'{name}_driver')
    messages = {
        'camera_info': info_message(),
        'depth': depth_message(np.full((HEIGHT, WIDTH), 3000), '16UC1'),
        'image': image_message(paint_scene(HEIGHT, WIDTH), 0),
    }
    publishers = {
        topic: node.create_publisher(type(message), f'{name}/{topic}', qos_profile_sensor_data)
        for topic, message in messages.items()
    }
    try:
        while True:
            stamp = node.get_clock().now().to_msg()
            for topic, message in messages.items():
                message.header.stamp, message.header.frame_id = stamp, name
                publishers[topic].publish(message)
            time.sleep(1 / RATE_HZ)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.shutdown()


def info_message(focal: float = FOCAL, size: tuple[int, int] = (HEIGHT, WIDTH)) -> CameraInfo:
    """Return the camera_info of a pinhole camera; `size` is (height, width)."""
    height, width = size
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(height=height, width=width, distortion_model='plumb_bob', k=k)


def depth_message(values: np.ndarray, encoding: str) -> Image:
    """Return a depth image, (H, W)."""
    made = depth_image(values, encoding)
    message = Image(height=made.height, width=made.width, encoding=encoding, step=made.step)
    message.data = array.array('B', made.data)
    return message


if __name__ == '__main__':
    main()
