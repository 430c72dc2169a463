# SPDX-License-Identifier: Apache-2.0
"""Images that the demo's camera sends to the recorder."""

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
from sensor_msgs.msg import CompressedImage

from panoptic_ros.recordings.image_source import CompressedImage as CompressedFields
from panoptic_ros.recordings.image_source import RawImage
from panoptic_ros.ros.camera_driver import _fill_copy


@pytest.mark.parametrize(
    ('encoding', 'pixel', 'bgr'),
    [
        ('bgr8', (250, 120, 0), (250, 120, 0)),
        ('rgb8', (0, 120, 250), (250, 120, 0)),
        ('mono8', (70,), (70, 70, 70)),
    ],
)
def test_raw_images_are_sent_as_jpeg(encoding, pixel, bgr):
    data = np.full((36, 64, len(pixel)), pixel, np.uint8)
    message = CompressedImage()
    assert _fill_copy(message, RawImage(36, 64, encoding, 0, 64 * len(pixel), data))
    assert message.format == 'jpeg'
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (36, 64, 3)
    assert np.abs(decoded[18, 32].astype(int) - bgr).max() < 8


def test_compressed_images_are_sent_as_they_are():
    message = CompressedImage()
    assert _fill_copy(message, CompressedFields('webp', np.frombuffer(b'any bytes', np.uint8)))
    assert (message.format, bytes(message.data)) == ('webp', b'any bytes')


def test_images_that_cannot_be_read_are_left_out():
    data = np.zeros((36, 64, 2), np.uint8)
    assert not _fill_copy(CompressedImage(), RawImage(36, 64, 'strange', 0, 128, data))
