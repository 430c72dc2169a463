# SPDX-License-Identifier: Apache-2.0
"""Camera model from a camera_info message: the ray of each pixel, and the pixel of each point.

The raw image has the matrix K and the distortion D. A rectified image has the matrix P and no
distortion. Which of them the image is cannot be seen in the message, as both have the same
camera_info; `is_rectified` reads it from the name of the image's topic.

Pixel centres have integer coordinates. Points are in the camera's optical frame: x to the right, y
down, z forward, metres.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.spatial.distortion import Lens, make_lens

NODE_PX = 8
"""Distance of the pixels whose rays are computed; those between are interpolated."""

MIN_FOCAL_PX, MAX_NUMBER = 0.1, 1e6
"""Least focal length, and a bound of all numbers of a camera matrix."""

NEAREST_M = 1e-3
"""Least z of a point that can be seen."""


def is_rectified(topic: str) -> bool:
    """Return whether a topic has rectified images: one of its words is `rect` or `rectified`.

    Example:
        >>> [is_rectified(f'/camera/{name}') for name in ('image_raw', 'image_rect_color')]
        [False, True]
    """
    return not {'rect', 'rectified'}.isdisjoint(re.split(r'[/_]', topic.lower()))


def info_of_image(message: Any, topic: str) -> Any:
    """Return a camera_info whose K and D are those of a topic's images, rectified or not.

    It is for images that are published again under a name that does not say whether they are
    rectified. The baseline of a stereo pair, in P, is lost.

    Args:
        message: a sensor_msgs/CameraInfo from a bag.
        topic: of the images.
    """
    if not is_rectified(topic):
        return message
    return replace(message, k=np.reshape(message.p, (3, 4))[:, :3].flatten(), d=np.empty(0))


class Calibration(NamedTuple):
    """Content of a camera_info message, which can be compared."""

    size: tuple[int, int]
    """(height, width) of the full sensor, px."""

    model: str
    d: tuple[float, ...]
    """Coefficients of the distortion; empty if the images are rectified."""

    matrix: tuple[float, ...]
    """K, or P if the images are rectified."""

    binning: tuple[int, int]
    """Pixels of the sensor per pixel of the image, (y, x)."""

    roi: tuple[int, int, int, int]
    """First row, first column, height and width of the part that is sent, pixels of the sensor."""

    rectified: bool


def read_camera_info(message: Any, rectified: bool) -> Calibration:
    """Read what is used of a sensor_msgs/CameraInfo, without checking it.

    Args:
        message: an object with CameraInfo's attributes, from rclpy or from a bag.
        rectified: whether the images are rectified.
    """
    size = int(message.height), int(message.width)
    roi = message.roi
    height, width = int(roi.height), int(roi.width)
    return Calibration(
        size,
        str(message.distortion_model),
        () if rectified else _numbers(message.d),
        _numbers(message.p if rectified else message.k),
        (max(1, int(message.binning_y)), max(1, int(message.binning_x))),
        # As the message says, a region of 0 x 0 pixels is the whole image.
        (int(roi.y_offset), int(roi.x_offset), height, width)
        if height and width
        else (0, 0, *size),
        rectified,
    )


def _numbers(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(map(float, values))


class CameraModel:
    """Pixels and rays of one calibrated camera."""

    def __init__(self, calibration: Calibration) -> None:
        """Check the calibration.

        Raises:
            ValueError: if it cannot be used; says why and what to do.
        """
        (top, left, height, width), (bin_y, bin_x) = calibration.roi, calibration.binning
        self.size = height // bin_y, width // bin_x
        """Image (height, width), px."""
        if min(self.size) < 1:
            raise ValueError(
                'camera_info must have the size of the image, got '
                f'{calibration.size[1]} x {calibration.size[0]}'
            )
        name = 'p' if calibration.rectified else 'k'
        matrix = np.array(calibration.matrix)
        if matrix.size != (12 if calibration.rectified else 9):
            raise ValueError(f'camera_info.{name} has {matrix.size} numbers')
        if not (np.abs(matrix) < MAX_NUMBER).all():
            raise ValueError(f'camera_info.{name} must hold finite numbers below {MAX_NUMBER:g}')
        matrix = matrix.reshape(3, -1)
        if min(matrix[0, 0], matrix[1, 1]) < MIN_FOCAL_PX:
            raise ValueError(
                f'camera_info.{name} has no focal length; calibrate the camera, '
                'or remap camera_info to a calibrated one'
            )
        self._lens: Lens | None = None
        if not calibration.rectified:
            self._lens = make_lens(calibration.model, calibration.d)
        # As image_geometry: the region first, then the binning, without a shift by half a pixel.
        scale = np.array([[1 / bin_x], [1 / bin_y]])
        self._linear = matrix[:2, :2] * scale  # (2, 2) of (u, v) by (x / z, y / z)
        self._centre = (matrix[:2, 2] - (left, top)) * scale[:, 0]  # (2,) u, v
        # P's last column: a second camera's images are in the first camera's frame.
        column = matrix[:2, 3] * scale[:, 0] if calibration.rectified else np.zeros(2)
        self.origin = np.append(-np.linalg.solve(self._linear, column), 0)
        """(3,) point from which all rays start, m; 0 except for a second camera of a pair."""

    @cached_property
    def rays(self) -> npt.NDArray[np.float32]:
        """(2, H, W) x and y at z = 1 on the ray of each pixel, NaN where a lens shows nothing.

        The point at depth z is `origin + z * (x, y, 1)`.
        """
        if self._lens is None:
            (a, b), (c, d) = np.linalg.inv(self._linear).astype(np.float32)
            v, u = (
                (np.arange(n) - middle).astype(np.float32)
                for n, middle in zip(self.size, self._centre[::-1], strict=True)
            )
            return np.stack([a * u + (b * v)[:, None], c * u + (d * v)[:, None]])
        nodes = [np.arange(-NODE_PX, n + 2 * NODE_PX, NODE_PX) for n in self.size]
        exact = self.ray_of(np.stack(np.meshgrid(*nodes[::-1])).astype(float))
        height, width = self.size
        with np.errstate(all='ignore'):
            rays = _interpolate(exact.swapaxes(1, 2).astype(np.float32), height).swapaxes(1, 2)
            return np.ascontiguousarray(_interpolate(rays, width))

    def ray_of(self, pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the rays of pixels (2, ...) as u, v; the same shape as x, y at z = 1."""
        flat = pixels.reshape(2, -1) - self._centre[:, None]
        rays = np.linalg.solve(self._linear, flat).reshape(pixels.shape)
        return rays if self._lens is None else self._lens.undistort(rays)

    def project(
        self, points: npt.NDArray[np.floating[Any]], beyond: bool = False
    ) -> npt.NDArray[np.float64]:
        """Return the pixels of points.

        Args:
            points: (3, N) in the camera's optical frame, m.
            beyond: whether points outside the image have a pixel too, without the distortion of
                the lens.

        Returns:
            (2, N) u, v; NaN for points that are not in the image, behind the camera or NaN.
        """
        pixels = np.full((2, points.shape[1]), np.nan)
        with np.errstate(all='ignore'):
            x, y, z = points - self.origin[:, None]
            flat = np.stack([x, y]) / z
            low, high = self._field_of_view
            # A lens's polynomials would bring points far outside the image back into it.
            inside = ((flat >= low[:, None]) & (flat <= high[:, None])).all(axis=0)
            if beyond:
                pixels = np.where(z > NEAREST_M, self._linear @ flat, np.nan)
                pixels += self._centre[:, None]
            seen = np.flatnonzero(inside & (z > NEAREST_M))
        flat = flat[:, seen]
        if self._lens is not None:
            flat = self._lens.distort(flat)
        u, v = self._linear @ flat + self._centre[:, None]
        height, width = self.size
        shown = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
        pixels[:, seen[shown]] = u[shown], v[shown]
        return pixels

    @cached_property
    def _field_of_view(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(2,) smallest and largest x and y at z = 1 of a ray, one pixel beyond the image."""
        v, u = (np.linspace(-1, n, max(2, n // NODE_PX)) for n in self.size)
        rays = self.ray_of(np.stack(np.meshgrid(u, v)))
        flat = rays.reshape(2, -1)  # fmin() ignores NaN, without a warning if all are
        return np.fmin.reduce(flat, axis=1), np.fmax.reduce(flat, axis=1)


def _interpolate(values: npt.NDArray[np.float32], pixels: int) -> npt.NDArray[np.float32]:
    """Return values at pixels 0 to `pixels` - 1, (..., pixels), by Lagrange's cubic polynomials.

    Args:
        values: (..., nodes), at -NODE_PX, 0, NODE_PX and so on.
        pixels: number of pixels.
    """
    place = np.arange(pixels) / NODE_PX
    first = place.astype(int)
    t = place + 1 - first  # of the four nodes 0 to 3 around the pixel
    parts = (
        values[..., first + k]
        * np.prod([(t - j) / (k - j) for j in range(4) if j != k], axis=0).astype(np.float32)
        for k in range(4)
    )
    return np.asarray(sum(parts))
