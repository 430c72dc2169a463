# SPDX-License-Identifier: Apache-2.0
"""Conversion of image messages to `CameraImage`, without cv_bridge and mostly without a copy."""

import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.text import one_line
from panoptic_ros.images.encodings import BAYER, ENCODINGS, demosaic
from panoptic_ros.images.files import MAX_IMAGE_PIXELS, ImageFile, read_image_file

_OPENCV_TYPE = re.compile(r'\d{1,2}[USF]C\d{1,3}')

Fallback = Callable[[Any], npt.NDArray[np.uint8]]
"""Converter of messages in other encodings to (H, W, 3) BGR; raises an error if it cannot."""


def read_image(
    message: Any, fallback: Fallback | None = None, max_image_pixels: int = MAX_IMAGE_PIXELS
) -> CameraImage:
    """Read a sensor_msgs/Image.

    Args:
        message: an object with Image's attributes, from rclpy or from a bag.
        fallback: converter of encodings that are not in `ENCODINGS`: cv_bridge, if installed.
        max_image_pixels: largest image to accept.

    Returns:
        For rgb8, bgr8 and mono8 a view on the bytes of the message. Of 16 bits the high byte is
        used, alpha is dropped, other encodings are converted to RGB.

    Raises:
        ValueError: if the encoding is unknown, the sizes contradict each other or the image is
            too large.
    """
    height, width, step = message.height, message.width, message.step
    if height < 1 or width < 1:
        raise ValueError(f'an image needs at least 1 x 1 pixels, got {width} x {height}')
    if height * width > max_image_pixels:
        raise ValueError(
            f'the image is too large: {width} x {height} pixels, the limit is {max_image_pixels}'
        )
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return CameraImage(_read_other(message, fallback), 'bgr')
    if height % encoding.even[0] or width % encoding.even[1]:
        raise ValueError(
            f'a {message.encoding} image must be a multiple of '
            f'{encoding.even[1]} x {encoding.even[0]}, got {width} x {height}'
        )
    size, rows = encoding.pixel_bytes, int(height * encoding.planes)
    data = np.frombuffer(message.data, np.uint8)
    if encoding.planes > 1 and step == width * encoding.planes and data.size == step * height:
        step = width  # some drivers give the bytes of all planes as step
    if step < width * size:
        raise ValueError(
            f'step must be at least {width * size} bytes for '
            f'{width} pixels of {message.encoding}, got {step}'
        )
    if data.size != step * rows:
        raise ValueError(
            f'data must hold {rows} rows of {step} bytes = {step * rows}, got {data.size}'
        )
    pixels: npt.NDArray[np.uint8] = np.ndarray(
        (rows, width, size), np.uint8, data, strides=(step, size, 1)
    )
    return CameraImage(encoding.convert(pixels, bool(message.is_bigendian)), encoding.order)


def read_compressed_image(message: Any, max_image_pixels: int = MAX_IMAGE_PIXELS) -> CameraImage:
    """Read a sensor_msgs/CompressedImage that holds a JPEG, PNG, WebP, TIFF or BMP.

    `format` may name the encoding of the image that was compressed, `bayer_rggb8; png
    compressed`; a Bayer mosaic is converted to RGB.

    Args:
        message: an object with CompressedImage's attributes; padding may follow the data.
        max_image_pixels: largest image to accept.

    Raises:
        ValueError: if it is no colour image of these formats, is truncated, too large or cannot
            be decoded.
    """
    encoding = encoding_of(message)
    if 'compressedDepth' in message.format or (
        _OPENCV_TYPE.fullmatch(encoding) and encoding not in ENCODINGS
    ):
        raise ValueError(f'expected a colour image, got {message.format[:60]!r}')
    data = bytes(message.data)
    file = read_image_file(data, max_image_pixels)
    pattern = re.fullmatch(r'bayer_(\w{4})\d*', encoding)
    if pattern and pattern[1] in BAYER:
        pixels = _decode(data, file, cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 2:
            return CameraImage(demosaic(pixels, pattern[1]), 'rgb')
    pixels = _decode(data, file, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return CameraImage(pixels, 'bgr')


def read_message(
    message: Any, fallback: Fallback | None = None, max_image_pixels: int = MAX_IMAGE_PIXELS
) -> CameraImage:
    """Read a sensor_msgs/Image or CompressedImage; see `read_image`.

    Raises:
        ValueError: if the image cannot be read.
    """
    if hasattr(message, 'format'):
        return read_compressed_image(message, max_image_pixels)
    return read_image(message, fallback, max_image_pixels)


def header_stamp_ns(message: Any) -> int:
    """Return the header's stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def header_stamp_s(message: Any) -> float:
    """Return the header's stamp in seconds."""
    stamp = message.header.stamp
    return float(stamp.sec + stamp.nanosec * 1e-9)


def encoding_of(message: Any) -> str:
    """Return the encoding of an Image, or of the image that a CompressedImage was made from.

    Returns:
        Name of the encoding; `mono16` for a 16-bit grey image whose format names none; empty if
        it is unknown.
    """
    if not hasattr(message, 'format'):
        return str(message.encoding)
    encoding, semicolon, _ = message.format.partition(';')
    encoding = encoding.strip() if semicolon else ''
    if encoding in ENCODINGS or _OPENCV_TYPE.fullmatch(encoding):
        return encoding
    try:
        return 'mono16' if read_image_file(bytes(message.data)).is_deep_grey else encoding
    except ValueError:
        return encoding


def _decode(data: bytes, file: ImageFile, flags: int) -> npt.NDArray[np.uint8]:
    pixels = _decode_bytes(memoryview(data)[: file.end], file.kind, flags)
    if file.jpeg and not file.jpeg.is_complete(
        data, pixels, lambda other: _decode_bytes(other, file.kind, flags)
    ):
        raise ValueError(f'the {file.kind} image is cut short: a part of its data is missing')
    return pixels


def _decode_bytes(data: bytes | memoryview, kind: str, flags: int) -> Any:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f'the {kind} image cannot be decoded: {error.err}') from None
    if pixels is None:
        raise ValueError(f'the {kind} image cannot be decoded')
    return pixels


def cv_bridge_fallback() -> Fallback | None:
    """Return cv_bridge's converter of rare encodings; None if cv_bridge cannot be imported."""
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
    except Exception:  # several errors occur if it was built for another NumPy
        return None
    return lambda message: bridge.imgmsg_to_cv2(message, 'bgr8')


def _read_other(message: Any, fallback: Fallback | None) -> npt.NDArray[np.uint8]:
    given = f'encoding {one_line(repr(message.encoding), 60)}'
    known = f'expected one of {", ".join(ENCODINGS)}'
    if fallback is None:
        raise ValueError(f'{given} cannot be read without cv_bridge; {known}')
    try:
        return _as_uint8(fallback(message))
    except Exception as error:
        raise ValueError(
            f'{given} cannot be read; cv_bridge says: {one_line(error, 100)}; {known}'
        ) from None


def _as_uint8(pixels: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(pixels, np.uint8)
