# SPDX-License-Identifier: Apache-2.0
"""Depth images from ROS messages, and the depth at pixels of the camera's image."""

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.text import one_line
from panoptic_ros.images.files import MAX_IMAGE_PIXELS, read_image_file

ENCODINGS = {'16UC1': ('u2', 1e-3), 'mono16': ('u2', 1e-3), '32FC1': ('f4', 1.0)}
"""NumPy type and metres per unit by encoding."""

CONFIG = struct.Struct('<iff')
"""Header of a compressedDepth image: the format, and the two parameters of quantised floats."""

MAX_ASPECT_ERROR = 0.01
"""Largest relative difference of the aspect ratios of a depth image and a camera image."""


@dataclass(frozen=True)
class DepthImage:
    """Depth along the optical axis, registered to the camera's image."""

    values: npt.NDArray[Any]
    """(H, W) uint16 or float32 of any byte order; usually a view of the message's bytes."""

    unit_m: float
    """Metres per unit. 0, negative values and values that are not finite are no depth."""

    def fitted(self, size: tuple[int, int]) -> 'DepthImage':
        """Return the depth at the pixels of a camera image of `size` (height, width).

        An image of another size is scaled by nearest pixel.

        Raises:
            ValueError: if the aspect ratio is another one, so that it shows something else.
        """
        height, width = self.values.shape
        if (height, width) == size:
            return self
        if abs(width * size[0] / (height * size[1]) - 1) > MAX_ASPECT_ERROR:
            raise ValueError(
                f'the depth image ({width} x {height}) does not show what the image '
                f'({size[1]} x {size[0]}) shows; register it to the image (depth_image_proc)'
            )
        rows, cols = (
            (2 * np.arange(n) + 1) * own // (2 * n)
            for n, own in zip(size, self.values.shape, strict=True)
        )
        return DepthImage(self.values.take(rows, axis=0).take(cols, axis=1), self.unit_m)

    def metres(self, index: Any) -> npt.NDArray[np.float32]:
        """Return the depth in metres at an index of `values`; NaN where there is none."""
        with np.errstate(all='ignore'):  # any bits may be there
            depth = self.values[index].astype(np.float32)
            depth *= np.float32(self.unit_m)
            depth[~((depth > 0) & (depth < np.inf))] = np.nan
        return depth


def read_depth(message: Any, max_pixels: int = MAX_IMAGE_PIXELS) -> DepthImage:
    """Read a depth image: a sensor_msgs/Image, or a CompressedImage of `compressedDepth`.

    Args:
        message: an object with the message's attributes, from rclpy or from a bag.
        max_pixels: largest image to accept.

    Raises:
        ValueError: if it is no depth image, or cannot be read.
    """
    if hasattr(message, 'format'):
        return _read_compressed(message, max_pixels)
    kind, unit_m = _layout(message.encoding)
    height, width, step = int(message.height), int(message.width), int(message.step)
    _check_pixels(height, width, max_pixels)
    dtype = np.dtype(('>' if message.is_bigendian else '<') + kind)
    data = np.frombuffer(message.data, np.uint8)
    if step < width * dtype.itemsize or data.size != step * height:
        raise ValueError(
            f'a depth image of {width} x {height} pixels of {message.encoding} must have rows of '
            f'at least {width * dtype.itemsize} bytes, got {data.size} bytes with step {step}'
        )
    return DepthImage(
        np.ndarray((height, width), dtype, data, strides=(step, dtype.itemsize)), unit_m
    )


def _layout(encoding: str) -> tuple[str, float]:
    layout = ENCODINGS.get(encoding)
    if layout is None:
        raise ValueError(
            f'a depth image must be {", ".join(ENCODINGS)}, got '
            f'{one_line(repr(encoding), 60)}; is `depth` remapped to a depth topic?'
        )
    return layout


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if min(height, width) < 1 or height * width > max_pixels:
        raise ValueError(
            f'a depth image must have 1 to {max_pixels} pixels, got {width} x {height}'
        )


def _read_compressed(message: Any, max_pixels: int) -> DepthImage:
    """Read what compressed_depth_image_transport writes, see its codec.cpp.

    16UC1 is stored as it is. 32FC1 is stored as 16 bits of A / depth + B, 0 for no depth.
    """
    encoding, _, codec = str(message.format).partition(';')
    kind, unit_m = _layout(encoding.strip())
    codec = codec.strip()
    if not codec.startswith('compressedDepth'):
        raise ValueError(
            f'expected a compressedDepth image, got format {one_line(repr(message.format), 60)}'
        )
    if codec.removeprefix('compressedDepth').strip() not in ('', 'png'):
        raise ValueError(
            f'expected a compressedDepth image as png, got {one_line(codec, 60)}; '
            'set the format of its publisher to png'
        )
    data = bytes(message.data)
    if len(data) <= CONFIG.size:
        raise ValueError(f'a compressedDepth image has more than {CONFIG.size} bytes')
    file = read_image_file(data[CONFIG.size :], max_pixels)
    if file.kind != 'png' or not file.is_deep_grey:
        raise ValueError(
            f'expected a png of 16-bit grey values in compressedDepth, got {file.kind}'
        )
    values = _decode(data[CONFIG.size :][: file.end])
    if kind == 'u2':
        return DepthImage(values, unit_m)
    _, a, b = CONFIG.unpack_from(data)
    with np.errstate(all='ignore'):
        depth = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    depth[values == 0] = np.nan
    return DepthImage(depth, unit_m)


def _decode(png: bytes) -> npt.NDArray[np.uint16]:
    try:
        values = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f'the depth png cannot be decoded: {error.err}') from None
    if values is None or values.dtype != np.uint16 or values.ndim != 2:
        raise ValueError('the depth png cannot be decoded')
    return np.asarray(values)
