# SPDX-License-Identifier: Apache-2.0
"""Lens distortion: from the directions of points to pixels on a plane at z = 1, and back."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.text import one_line

Floats = npt.NDArray[np.float64]

PLUMB_BOB_LENGTHS = (4, 5, 8, 12)
"""Accepted numbers of coefficients in OpenCV's order: k1 k2 p1 p2 k3, k4 k5 k6, s1 to s4."""

FISHEYE_LENGTH = 4

ITERATIONS = 30
TOLERANCE = 1e-9
"""Largest error of an inversion on the plane at z = 1."""

MAX_STEP = 0.5
"""Largest step of an iteration on that plane, so that it stays on the lens's own branch."""


class Lens(NamedTuple):
    """Distortion by one lens.

    The plane at z = 1 is in the camera's optical frame: x to the right, y down.
    """

    distort: Callable[[Floats], Floats]
    """(2, ...) points of the plane to their distorted points, of the same shape."""

    undistort: Callable[[Floats], Floats]
    """The inverse; NaN where no direction in front of the camera leads to a point."""


def make_lens(model: str, coefficients: tuple[float, ...]) -> Lens | None:
    """Return the lens that a camera_info describes; None if it does not distort.

    Args:
        model: `distortion_model` of the message.
        coefficients: its `d`.

    Raises:
        ValueError: if the model is unknown or has another number of coefficients.
    """
    if not any(coefficients):
        return None
    if not all(map(math.isfinite, coefficients)):
        raise ValueError(f'camera_info.d must hold finite numbers, got {list(coefficients)}')
    lengths: tuple[int, ...]
    if model in ('plumb_bob', 'rational_polynomial'):
        lengths, make = PLUMB_BOB_LENGTHS, _polynomial_lens
    elif model in ('equidistant', 'fisheye'):
        lengths, make = (FISHEYE_LENGTH,), _fisheye_lens
    else:
        raise ValueError(
            'camera_info.distortion_model must be plumb_bob, rational_polynomial, equidistant or '
            f'fisheye, got {one_line(repr(model), 60)}; use rectified images'
        )
    while len(coefficients) > lengths[0] and not coefficients[-1]:
        coefficients = coefficients[:-1]
    length = next((n for n in lengths if n >= len(coefficients)), None)
    if length is None:
        raise ValueError(
            f'camera_info.d of a {model} camera must hold at most {lengths[-1]} numbers, got '
            f'{len(coefficients)}; use rectified images'
        )
    return make(np.array([*coefficients, *[0.0] * (lengths[-1] - len(coefficients))]))


def _polynomial_lens(d: Floats) -> Lens:
    """Return Brown's model with OpenCV's rational and thin-prism terms.

    See "Detailed Description" of OpenCV's calib3d module; `d` (12,) has its order.
    """
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = d.tolist()

    def distort(points: Floats) -> Floats:
        x, y = points
        xx, yy, xy = x * x, y * y, x * y
        r = xx + yy
        radial = (1 + r * (k1 + r * (k2 + r * k3))) / (1 + r * (k4 + r * (k5 + r * k6)))
        return np.stack(
            [
                x * radial + 2 * p1 * xy + p2 * (r + 2 * xx) + r * (s1 + r * s2),
                y * radial + p1 * (r + 2 * yy) + 2 * p2 * xy + r * (s3 + r * s4),
            ]
        )

    return Lens(distort, lambda points: _invert(distort, points))


def _invert(distort: Callable[[Floats], Floats], target: Floats) -> Floats:
    """Return the points that are distorted to `target`, by Newton's method from `target` on."""
    points = target.copy()
    with np.errstate(all='ignore'):
        for _ in range(ITERATIONS):
            error = distort(points) - target
            if np.nanmax(np.abs(error), initial=0) < TOLERANCE:
                break
            xx, xy, yx, yy = _slopes(distort, points)
            step = np.stack([yy * error[0] - xy * error[1], xx * error[1] - yx * error[0]])
            step /= xx * yy - xy * yx
            points = points - step * np.minimum(1, MAX_STEP / np.hypot(*step))
        xx, xy, yx, yy = _slopes(distort, points)
        # Behind the fold of a polynomial, where it runs back inwards, it mirrors the plane.
        known = (np.abs(distort(points) - target) < TOLERANCE).all(axis=0)
        known &= xx * yy - xy * yx > 0
    return np.where(known, points, np.nan)


def _slopes(distort: Callable[[Floats], Floats], points: Floats) -> tuple[Floats, ...]:
    """Return the slopes of x by x, x by y, y by x and y by y at points (2, ...)."""
    h = 1e-6
    steps = np.eye(2).reshape(2, 2, *[1] * (points.ndim - 1)) * h
    (xx, yx), (xy, yy) = (
        (distort(points + step) - distort(points - step)) / (2 * h) for step in steps
    )
    return xx, xy, yx, yy


def _fisheye_lens(d: Floats) -> Lens:
    """Return the equidistant model of Kannala and Brandt, 2006, as OpenCV's fisheye module.

    The angle t to the optical axis becomes the radius t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8).
    """
    powers = np.array([1.0, *d])
    slopes = powers * (1, 3, 5, 7, 9)

    def radius(angle: Floats) -> Floats:
        return angle * np.polyval(powers[::-1], angle * angle)

    def scaled(points: Floats, old: Floats, new: Floats) -> Floats:
        return points * np.divide(new, old, out=np.ones_like(old), where=old > 1e-9)

    def distort(points: Floats) -> Floats:
        r = np.hypot(*points)
        return scaled(points, r, radius(np.arctan(r)))

    def undistort(points: Floats) -> Floats:
        r = np.hypot(*points)
        angle = np.minimum(r, math.pi / 2)
        with np.errstate(all='ignore'):
            for _ in range(ITERATIONS):
                slope = np.polyval(slopes[::-1], angle * angle)
                angle = np.clip(angle - (radius(angle) - r) / slope, 0, math.pi / 2)
            known = (np.abs(radius(angle) - r) < TOLERANCE) & (angle < math.pi / 2 - 1e-3)
            known &= np.polyval(slopes[::-1], angle * angle) > 0
            return np.where(known, scaled(points, r, np.tan(angle)), np.nan)

    return Lens(distort, undistort)
