# SPDX-License-Identifier: Apache-2.0
"""What a camera gives: pixels and the order of their channels; and how they get fewer."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt


class CameraImage(NamedTuple):
    """One picture as the camera sent it; usually a view on the message's own bytes."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3), or (H, W) when `order` is `mono`; rows may be padded (any strides)."""

    order: Literal['rgb', 'bgr', 'mono'] = 'rgb'
    """Meaning of the last axis."""


def shrink(
    pixels: npt.NDArray[Any], size: tuple[int, int], out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Scales an image, by halves and then the rest.

    No step leaves out a pixel, so this comes near cv2.INTER_AREA at a tenth of its time, where a
    single linear step from a large image would alias.

    Args:
        pixels: (H, W) or (H, W, 3), uint8.
        size: (height, width) to reach; may be larger too.
        out: where to put the result, of its shape.
    """
    height, width = size
    while pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width:
        half = [(n + 1) // 2 for n in pixels.shape[1::-1]]  # (width, height)
        pixels = cv2.resize(pixels, half)
    return cv2.resize(pixels, (width, height), dst=out)
