"""Image messages to `CameraImage`: without cv_bridge, and without a copy where bytes allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.image import CameraImage

Order = Literal['rgb', 'bgr', 'mono']

TAIL_BYTES = 1024
"""The end of a JPEG or PNG must lie this near to the end of the data; some cameras pad it."""


class _Packed(NamedTuple):
    """An encoding whose pixels are bytes side by side."""

    pixel_bytes: int
    order: Order


class _Coded(NamedTuple):
    """An encoding that OpenCV turns into RGB."""

    pixel_bytes: int
    code: int
    even: tuple[int, int] = (1, 1)
    """(height, width) must be multiples of these."""

    rows: float = 1.0
    """Rows of data per row of the image."""


# ROS names a Bayer pattern by its first row, OpenCV by the second row's second and third pixel.
_ENCODINGS: dict[str, _Packed | _Coded] = {
    'rgb8': _Packed(3, 'rgb'), 'bgr8': _Packed(3, 'bgr'), '8UC3': _Packed(3, 'bgr'),
    'rgba8': _Packed(4, 'rgb'), 'bgra8': _Packed(4, 'bgr'),
    'mono8': _Packed(1, 'mono'), '8UC1': _Packed(1, 'mono'), 'mono16': _Packed(2, 'mono'),
    **{name: _Coded(2, cv2.COLOR_YUV2RGB_UYVY, (1, 2)) for name in ('yuv422', 'uyvy')},
    **{name: _Coded(2, cv2.COLOR_YUV2RGB_YUYV, (1, 2)) for name in ('yuv422_yuy2', 'yuyv')},
    'nv12': _Coded(1, cv2.COLOR_YUV2RGB_NV12, (2, 2), 1.5),
    'nv21': _Coded(1, cv2.COLOR_YUV2RGB_NV21, (2, 2), 1.5),
    'bayer_rggb8': _Coded(1, cv2.COLOR_BayerBG2RGB, (2, 2)),
    'bayer_bggr8': _Coded(1, cv2.COLOR_BayerRG2RGB, (2, 2)),
    'bayer_gbrg8': _Coded(1, cv2.COLOR_BayerGR2RGB, (2, 2)),
    'bayer_grbg8': _Coded(1, cv2.COLOR_BayerGB2RGB, (2, 2)),
}

ENCODINGS = tuple(_ENCODINGS)
"""Encodings of sensor_msgs/Image that are read without cv_bridge."""

Fallback = Callable[[Any], npt.NDArray[np.uint8]]
"""Turns a message of another encoding into (H, W, 3) BGR, or raises."""


def read_image(message: Any, fallback: Fallback | None = None) -> CameraImage:
    """Reads a sensor_msgs/Image.

    Args:
        message: anything with Image's attributes (from rclpy, or from a bag).
        fallback: reads encodings that are not in `ENCODINGS`; cv_bridge where it is installed.

    Returns:
        For rgb8, bgr8 and mono8 a view on the message's own bytes; mono16 is its high byte;
        alpha is left out; the others are converted to RGB.

    Raises:
        ValueError: in one line, if the encoding is unknown or the sizes contradict each other.
    """
    height, width, step = message.height, message.width, message.step
    if height < 1 or width < 1:
        raise ValueError(f'an image needs at least 1 x 1 pixels, got {width} x {height}')
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        return CameraImage(_read_other(message, fallback), 'bgr')
    rows = height
    if isinstance(encoding, _Coded):
        rows = int(height * encoding.rows)
        if height % encoding.even[0] or width % encoding.even[1]:
            raise ValueError(f'a {message.encoding} image must be a multiple of '
                             f'{encoding.even[1]} x {encoding.even[0]}, got {width} x {height}')
    if step < width * encoding.pixel_bytes:
        raise ValueError(f'step must be at least {width * encoding.pixel_bytes} bytes for '
                         f'{width} pixels of {message.encoding}, got {step}')
    data = np.frombuffer(message.data, np.uint8)
    if data.size != step * rows:
        raise ValueError(f'data must hold {rows} rows of {step} bytes = {step * rows}, '
                         f'got {data.size}')
    size = encoding.pixel_bytes
    pixels: npt.NDArray[np.uint8] = np.ndarray((rows, width, size), np.uint8, data,
                                               strides=(step, size, 1))
    if isinstance(encoding, _Coded):
        return CameraImage(_convert(pixels if size > 1 else pixels[..., 0], encoding.code), 'rgb')
    if encoding.order == 'mono':
        if size == 1:
            return CameraImage(pixels[..., 0], 'mono')
        return CameraImage(_as_uint8(cv2.extractChannel(pixels, 0 if message.is_bigendian else 1)),
                           'mono')
    if size == 4:  # a view without alpha would be copied later, and 30 times as slowly
        pixels = _convert(pixels, cv2.COLOR_BGRA2BGR)
    return CameraImage(pixels, encoding.order)


def read_compressed_image(message: Any) -> CameraImage:
    """Reads a sensor_msgs/CompressedImage that holds a JPEG or a PNG.

    Raises:
        ValueError: in one line, if it is something else, is cut short or cannot be decoded.
    """
    if 'compressedDepth' in message.format:
        raise ValueError(f'expected a jpeg or png colour image, got {message.format!r}')
    data = np.frombuffer(message.data, np.uint8)
    head, tail = data[:4].tobytes(), data[-TAIL_BYTES:].tobytes()
    if head.startswith(b'\xff\xd8\xff'):
        kind, end = 'jpeg', b'\xff\xd9'
    elif head == b'\x89PNG':
        kind, end = 'png', b'IEND'
    else:
        raise ValueError(f'expected a jpeg or png image, got {message.format[:60]!r} with '
                         f'{data.size} bytes that start with {head.hex() or "nothing"}')
    # OpenCV decodes a file that is cut short, with grey where the rest should be.
    if end not in tail:
        raise ValueError(f'the {kind} image is cut short: its end marker is missing')
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f'the {kind} image cannot be decoded: {error.err}') from None
    if pixels is None:
        raise ValueError(f'the {kind} image cannot be decoded')
    return CameraImage(_as_uint8(pixels), 'bgr')


def cv_bridge_fallback() -> Fallback | None:
    """What reads rare encodings: cv_bridge, or None where it is missing or broken."""
    try:
        from cv_bridge import CvBridge
        bridge = CvBridge()
    except Exception:  # built for another NumPy, its import fails in several ways
        return None
    return lambda message: bridge.imgmsg_to_cv2(message, 'bgr8')


def _read_other(message: Any, fallback: Fallback | None) -> npt.NDArray[np.uint8]:
    known = f'encoding must be one of {", ".join(ENCODINGS)}'
    if fallback is None:
        raise ValueError(f'{known} (others need cv_bridge), got {message.encoding!r}')
    try:
        return _as_uint8(fallback(message))
    except Exception as error:
        raise ValueError(f'{known}, got {message.encoding!r}, and cv_bridge says: {error}'
                         ) from None


def _convert(pixels: npt.NDArray[np.uint8], code: int) -> npt.NDArray[np.uint8]:
    try:
        return _as_uint8(cv2.cvtColor(pixels, code))
    except cv2.error as error:
        raise ValueError(f'OpenCV cannot convert the image: {error.err}') from None


def _as_uint8(pixels: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(pixels, np.uint8)
