# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera above a street that may bend.

Street coordinates in metres: x to the right of the road's middle, y up, z along the road from
the point below the camera. A bend of constant curvature looks the same from every point of it, so
the camera always stands at z = 0 and the world moves past it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NEAR_M = 0.3
"""Smallest depth in projections; nearer points lie outside the image."""


def cross(a: Array, b: Array) -> Array:
    """Return the cross product of two (3,) vectors, much faster than NumPy for so few numbers."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


@dataclass(frozen=True)
class PinholeCamera:
    """Pinhole camera: intrinsics, pose, and the curvature of the road."""

    size: tuple[int, int]
    """Image (height, width), px."""

    focal_px: float
    position: tuple[float, float]
    """(x, y) in street coordinates, m."""

    yaw: float
    """Angle to the right, radians."""

    pitch: float
    """Angle downwards, radians."""

    roll: float
    curvature: float
    """Curvature of the road, 1/m; positive to the right."""

    def __post_init__(self) -> None:
        sin_y, cos_y = math.sin(self.yaw), math.cos(self.yaw)
        sin_p, cos_p = math.sin(self.pitch), math.cos(self.pitch)
        forward = np.array([sin_y * cos_p, -sin_p, cos_y * cos_p])
        right = np.array([cos_y, 0.0, -sin_y])
        down = np.cross(right, forward)
        sin_r, cos_r = math.sin(self.roll), math.cos(self.roll)
        rotation = np.stack([cos_r * right + sin_r * down, cos_r * down - sin_r * right, forward])
        object.__setattr__(self, 'rotation', rotation)
        object.__setattr__(self, 'offset', np.array([*self.position, 0.0]))

    rotation: Array = None  # type: ignore[assignment]
    """(3, 3) rotation from street to camera axes (x right, y down, z forward), from the angles."""

    offset: Array = None  # type: ignore[assignment]
    """(3,) position in the street, m, from `position`."""

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point (u, v), px; pixel centres have integer coordinates."""
        return (self.size[1] - 1) / 2, (self.size[0] - 1) / 2

    @property
    def intrinsics(self) -> Array:
        """(3, 3) camera matrix, px."""
        cx, cy = self.centre
        return np.array([[self.focal_px, 0, cx], [0, self.focal_px, cy], [0, 0, 1.0]])

    def to_camera(self, points: Array, bend: bool = True) -> Array:
        """Transform street points (N, 3) to camera coordinates (N, 3), m."""
        moved = points - self.offset
        if bend and self.curvature:
            moved[:, 0] += 0.5 * self.curvature * points[:, 2] ** 2
        return moved @ self.rotation.T

    def bent(self, place: Array, heading: float) -> tuple[Array, float]:
        """Return position (3,) and heading of a rigid thing at `place` (3,) on the bent road."""
        x, y, z = place
        return (
            np.array([x + 0.5 * self.curvature * z * z, y, z]),
            heading + math.atan(self.curvature * z),
        )

    def to_pixels(self, points: Array) -> Array:
        """Project points (N, 3) in camera coordinates to (N, 2) pixels (u, v)."""
        pixels = points[:, :2] * (self.focal_px / np.maximum(points[:, 2:], NEAR_M))
        pixels += self.centre
        return np.minimum(np.maximum(pixels, -1e5), 1e5)

    def plane(self, normal: Array, point: Array) -> tuple[float, float, float]:
        """Return (a, b, c) with 1 / depth = a u + b v + c of a plane in camera coordinates."""
        offset = float(normal @ point)
        if abs(offset) < 1e-6:
            offset = math.copysign(1e-6, offset)
        a, b = normal[0] / offset / self.focal_px, normal[1] / offset / self.focal_px
        cx, cy = self.centre
        return float(a), float(b), float(normal[2] / offset - a * cx - b * cy)

    def ground_plane(self) -> tuple[float, float, float]:
        """Return the plane of the road; see `plane`."""
        down = -self.rotation[:, 1]
        return self.plane(down, down * self.position[1])

    def ground_rows(self, far_m: float) -> int:
        """Return the first image row with ground nearer than `far_m`."""
        a, b, c = self.ground_plane()
        rows = [(1 / far_m - c - a * u) / b for u in (0, self.size[1] - 1)]
        return int(np.clip(math.floor(min(rows)), 0, self.size[0] - 1))

    def ground_points(
        self, first_row: int, far_m: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return street x and z of the ground in each pixel from `first_row` on, (h, W) each."""
        height, width = self.size
        cx, cy = self.centre
        u = ((np.arange(width) - cx) / self.focal_px).astype(np.float32)[None]
        v = ((np.arange(first_row, height) - cy) / self.focal_px).astype(np.float32)[:, None]
        (rx, ry, rz), (dx, dy, dz), (fx, fy, fz) = self.rotation.astype(np.float32).tolist()
        depth = np.maximum((-ry * u) + (-dy * v - fy), self.position[1] / far_m)
        np.divide(np.float32(self.position[1]), depth, out=depth)
        z = ((rz * u) + (dz * v + fz)) * depth
        x = ((rx * u) + (dx * v + fx)) * depth
        x += np.float32(self.position[0])
        if self.curvature:
            x -= np.float32(0.5 * self.curvature) * z * z
        return x, z
