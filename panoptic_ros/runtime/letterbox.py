"""Lays camera images of any size into the network's input."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.bundle import ModelInfo
from panoptic_ros.frame import Geometry
from panoptic_ros.image import CameraImage


class Letterbox:
    """Scales images into the top left of the network's input; the rest is the mean colour."""

    def __init__(self, info: ModelInfo) -> None:
        self._stride = info.stride
        self._padding = [round(255 * value) for value in info.mean]
        self._buffer = np.empty((*info.input_size, 3), np.uint8)
        self._content_size = (0, 0)

    def __call__(self, image: CameraImage) -> tuple[npt.NDArray[np.uint8], Geometry]:
        """Gives the input (H, W, 3) RGB, valid until the next call, and its geometry.

        Raises:
            ValueError: if the image has no pixels, or not the layout that its order says.
        """
        pixels, order = image
        expected = (*pixels.shape[:2], *(() if order == 'mono' else (3,)))
        if order not in ('rgb', 'bgr', 'mono') or pixels.dtype != np.uint8 or (
                pixels.ndim < 2 or pixels.shape != expected):
            raise ValueError('an image must be rgb or bgr (H, W, 3) or mono (H, W), uint8, '
                             f'got {order} {pixels.shape}, {pixels.dtype}')
        rows, columns, _ = self._buffer.shape
        geometry = Geometry((pixels.shape[0], pixels.shape[1]), (rows, columns), self._stride)
        height, width = geometry.content_size
        if self._content_size != (height, width):
            self._buffer[:] = self._padding
            self._content_size = height, width
        content = self._buffer[:height, :width]
        small = shrink(pixels, (height, width), None if order == 'mono' else content)
        if order != 'rgb':  # cheaper on the small image
            cv2.cvtColor(small, cv2.COLOR_BGR2RGB if order == 'bgr' else cv2.COLOR_GRAY2RGB,
                         dst=content)
        return self._buffer, geometry


def shrink(pixels: npt.NDArray[Any], size: tuple[int, int],
           out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
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
