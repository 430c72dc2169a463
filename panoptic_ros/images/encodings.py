# SPDX-License-Identifier: Apache-2.0
"""Encodings of sensor_msgs/Image and the conversion of their bytes to pixels."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


class Encoding(NamedTuple):
    """Layout and conversion of an encoding."""

    pixel_bytes: int
    """Bytes per pixel in a row of data."""

    order: Literal['rgb', 'bgr', 'mono']
    """Order of the channels after the conversion."""

    convert: Callable[[Pixels, bool], Pixels] = lambda rows, is_big: rows
    """Conversion of (rows, W, pixel_bytes) bytes, big-endian or not, to (H, W, 3) or (H, W)."""

    even: tuple[int, int] = (1, 1)
    """Divisors of height and width."""

    planes: float = 1.0
    """Rows of data per row of the image."""


def _mono(rows: Pixels, is_big: bool) -> Pixels:
    return rows[..., 0]


def _high(rows: Pixels, is_big: bool) -> Pixels:
    """Return the high byte of each channel."""
    return np.ascontiguousarray(rows[..., 0 if is_big else 1 :: 2])


def _high_mono(rows: Pixels, is_big: bool) -> Pixels:
    return np.asarray(cv2.extractChannel(rows, 0 if is_big else 1))


def _drop_alpha(rows: Pixels, is_big: bool) -> Pixels:
    # A view without alpha would be copied later, which takes 30 times as long.
    return convert_color(rows, cv2.COLOR_BGRA2BGR)


def _high_drop_alpha(rows: Pixels, is_big: bool) -> Pixels:
    return _drop_alpha(_high(rows, is_big), is_big)


def _by_code(code: int) -> Callable[[Pixels, bool], Pixels]:
    return lambda rows, is_big: convert_color(rows if rows.shape[2] > 1 else rows[..., 0], code)


def _bayer(pattern: str, size: int) -> Callable[[Pixels, bool], Pixels]:
    mosaic = _mono if size == 1 else _high_mono
    return lambda rows, is_big: demosaic(mosaic(rows, is_big), pattern)


def _nv24(rows: Pixels, is_big: bool) -> Pixels:
    """Convert NV24: luma in the first third, then interleaved chroma at full resolution."""
    height, width = rows.shape[0] // 3, rows.shape[1]
    data = np.ascontiguousarray(rows[..., 0])
    chroma = data[height:].reshape(height, width, 2)
    luma = np.maximum(data[:height], 16)  # like OpenCV's other conversions
    yuv = cv2.merge([luma, *cv2.split(chroma)])
    return np.asarray(cv2.transform(yuv, _VIDEO_YUV_TO_RGB))


_VIDEO_YUV_TO_RGB = np.array([[1.164, 0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0]])
_VIDEO_YUV_TO_RGB = np.column_stack([_VIDEO_YUV_TO_RGB, _VIDEO_YUV_TO_RGB @ (-16, -128, -128)])

# ROS names a Bayer pattern by its first row, OpenCV by the second row's second and third pixel.
BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
"""OpenCV's code of the conversion to RGB by ROS's name of the Bayer pattern."""

ENCODINGS = {
    'rgb8': Encoding(3, 'rgb'),
    'bgr8': Encoding(3, 'bgr'),
    '8UC3': Encoding(3, 'bgr'),
    'rgba8': Encoding(4, 'rgb', _drop_alpha),
    **{name: Encoding(4, 'bgr', _drop_alpha) for name in ('bgra8', '8UC4')},
    'rgb16': Encoding(6, 'rgb', _high),
    **{name: Encoding(6, 'bgr', _high) for name in ('bgr16', '16UC3')},
    'rgba16': Encoding(8, 'rgb', _high_drop_alpha),
    **{name: Encoding(8, 'bgr', _high_drop_alpha) for name in ('bgra16', '16UC4')},
    **{name: Encoding(1, 'mono', _mono) for name in ('mono8', '8UC1')},
    'mono16': Encoding(2, 'mono', _high_mono),
    **{
        name: Encoding(2, 'rgb', _by_code(cv2.COLOR_YUV2RGB_UYVY), (1, 2))
        for name in ('yuv422', 'uyvy')
    },
    **{
        name: Encoding(2, 'rgb', _by_code(cv2.COLOR_YUV2RGB_YUYV), (1, 2))
        for name in ('yuv422_yuy2', 'yuyv')
    },
    'nv12': Encoding(1, 'rgb', _by_code(cv2.COLOR_YUV2RGB_NV12), (2, 2), 1.5),
    'nv21': Encoding(1, 'rgb', _by_code(cv2.COLOR_YUV2RGB_NV21), (2, 2), 1.5),
    'nv24': Encoding(1, 'rgb', _nv24, planes=3),
    **{
        f'bayer_{pattern}{8 * size}': Encoding(size, 'rgb', _bayer(pattern, size))
        for pattern in BAYER
        for size in (1, 2)
    },
}
"""Encodings read without cv_bridge. Of 16 bits the high byte is used; alpha is dropped."""


def convert_color(pixels: Pixels, code: int) -> Pixels:
    """Return the result of `cv2.cvtColor`.

    Raises:
        ValueError: if OpenCV cannot convert the image.
    """
    try:
        return np.asarray(cv2.cvtColor(pixels, code))
    except cv2.error as error:
        raise ValueError(f'OpenCV cannot convert the image: {error.err}') from None


def demosaic(mosaic: npt.NDArray[Any], pattern: str) -> Pixels:
    """Convert a Bayer mosaic to RGB.

    Args:
        mosaic: (H, W), 8 or 16 bits; of 16 bits the high byte is used.
        pattern: `rggb` or another key of `BAYER`.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ValueError: if the image is smaller than 3 x 3 pixels, for which OpenCV returns black.
    """
    if min(mosaic.shape) < 3:
        raise ValueError(
            f'a Bayer image needs at least 3 x 3 pixels, got {mosaic.shape[1]} x {mosaic.shape[0]}'
        )
    if mosaic.dtype == np.uint16:
        mosaic = (mosaic >> 8).astype(np.uint8)
    return convert_color(mosaic, BAYER[pattern])
