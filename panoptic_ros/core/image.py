# SPDX-License-Identifier: Apache-2.0
"""Camera image container and downscaling."""

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt


class CameraImage(NamedTuple):
    """Image as the camera sent it; usually a view of the message's bytes."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3), or (H, W) if `order` is `mono`; any strides, so rows may be padded."""

    order: Literal['rgb', 'bgr', 'mono'] = 'rgb'
    """Order of the channels in the last axis."""


def copy_rgb(image: CameraImage, out: npt.NDArray[np.uint8]) -> None:
    """Write an image into an RGB array of its size, which may be the image's own pixels."""
    if image.order == 'rgb':
        np.copyto(out, image.pixels)
    else:
        code = cv2.COLOR_BGR2RGB if image.order == 'bgr' else cv2.COLOR_GRAY2RGB
        cv2.cvtColor(image.pixels, code, dst=out)


def shrink(
    pixels: npt.NDArray[Any], size: tuple[int, int], out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Scale an image: halve it repeatedly, then scale it linearly to the final size.

    Each step reads every pixel, so the result is close to cv2.INTER_AREA in a tenth of its time.
    A single linear step from a large image would alias.

    Args:
        pixels: (H, W) or (H, W, 3), uint8.
        size: (height, width) of the result, px; may be larger than the image.
        out: array for the result, of its shape.

    Returns:
        (height, width) or (height, width, 3), uint8.
    """
    height, width = size
    while pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width:
        half = [(n + 1) // 2 for n in pixels.shape[1::-1]]  # (width, height)
        pixels = cv2.resize(pixels, half)
    return cv2.resize(pixels, (width, height), dst=out)


def encode_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Return a picture (H, W, 3) RGB as JPEG of a quality from 0 to 100."""
    done, data = cv2.imencode(
        '.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return data.tobytes()
