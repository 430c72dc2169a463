# SPDX-License-Identifier: Apache-2.0
"""Scaling of camera images into the network's input."""

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry
from panoptic_ros.core.image import CameraImage, copy_rgb, shrink
from panoptic_ros.core.model_info import ModelInfo


class Letterbox:
    """Scales images into the top left of the network's input, and pads with the mean colour."""

    def __init__(self, info: ModelInfo) -> None:
        self._stride = info.stride
        self._padding = [round(255 * value) for value in info.mean]
        self._buffer = np.empty((*info.input_size, 3), np.uint8)
        self._geometry: Geometry | None = None  # of the image in the buffer

    def __call__(self, image: CameraImage) -> tuple[npt.NDArray[np.uint8], Geometry]:
        """Return the network's input and its geometry.

        Returns:
            The input, (H, W, 3) uint8 RGB, a buffer that the next call overwrites; and the
            geometry of the image in it.

        Raises:
            ValueError: if the image has no pixels, or its shape does not fit its channel order.
        """
        pixels, order = image
        expected = (*pixels.shape[:2], *(() if order == 'mono' else (3,)))
        if (
            order not in ('rgb', 'bgr', 'mono')
            or pixels.dtype != np.uint8
            or (pixels.ndim < 2 or pixels.shape != expected)
        ):
            raise ValueError(
                'an image must be rgb or bgr (H, W, 3) or mono (H, W), uint8, '
                f'got {order} {pixels.shape}, {pixels.dtype}'
            )
        rows, columns, _ = self._buffer.shape
        image_size = pixels.shape[0], pixels.shape[1]
        if self._geometry is None or self._geometry.image_size != image_size:
            self._geometry = Geometry(image_size, (rows, columns), self._stride)
            self._buffer[:] = self._padding
        height, width = self._geometry.content_size
        content = self._buffer[:height, :width]
        small = shrink(pixels, (height, width), None if order == 'mono' else content)
        if order != 'rgb':  # cheaper on the small image
            copy_rgb(CameraImage(small, order), content)
        return self._buffer, self._geometry
