# SPDX-License-Identifier: Apache-2.0
"""Soft shadows on the ground."""

from collections.abc import Sequence

import cv2
import numpy as np

from .camera import Array
from .canvas import Canvas
from .labels import CAR, CYCLIST
from .layout import Fixed
from .things import Thing

SHADOWS_M = 45.0
"""Largest depth of objects that cast a shadow."""


def paint_shadows(
    canvas: Canvas, top: int, standing: Sequence[tuple[Fixed, float]], things: Sequence[Thing]
) -> None:
    """Darken the ground, from image row `top` down, under and behind the objects on it."""
    camera, light = canvas.camera, canvas.light
    below = canvas.pixels[top:]
    half = (
        2 if camera.size[0] >= 512 else 1
    )  # shadows are soft, so large images use half the resolution
    mask = np.full((-(-below.shape[0] // half), -(-below.shape[1] // half)), 255, np.uint8)
    direction = light.sun_direction
    throw = -direction[[0, 2]] / max(direction[1], 0.3)  # ground metres per metre of height
    sunny = bool(light.sun.any())
    cast = int(255 * (1 - light.shadow))

    def dark(points: Array, value: int) -> None:
        seen = camera.to_camera(points)
        if seen[:, 2].max() < 0.5:
            return
        pixels = (camera.to_pixels(seen) - (0, top)) / half
        hull = cv2.convexHull(np.rint(pixels * 16).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, value, cv2.LINE_8, 4)

    def thrown(base: Array, height: float) -> Array:
        moved = base.copy()
        moved[:, [0, 2]] += throw * height
        return np.concatenate([base, moved])

    if sunny:
        for fixed, z in standing:
            width, height, _ = fixed.size
            if fixed.kind == 'house' and throw[0] * fixed.x < 0:
                dark(thrown(np.array([[fixed.x, 0, z], [fixed.x, 0, z + width]]), height), cast)
            elif fixed.kind == 'tree':
                middle = np.array([[fixed.x, 0.0, z]])
                middle[:, [0, 2]] += throw * (height - width / 2)
                dark(middle + _RING * width * 0.45, cast)
            elif fixed.kind in ('lamp', 'sign'):
                dark(
                    thrown(np.array([[fixed.x - 0.08, 0, z], [fixed.x + 0.08, 0, z]]), height),
                    cast,
                )
    for thing in things:
        if thing.place[2] > SHADOWS_M:
            continue
        if thing.class_id == CAR:
            base = thing.footprint()
            if sunny:
                dark(thrown(base * (0.96, 1, 1), 1.25), cast)
            dark(base, int(255 * (1 - min(light.shadow + 0.3, 0.8))))
        else:
            long = 0.75 if thing.class_id == CYCLIST else 0.16
            base = thing.place + _RING * np.array([0.2, 0, long])
            if sunny:
                dark(thrown(base, 1.6), cast)
            dark(base, int(255 * (1 - 0.8 * light.shadow)))
    blur = max(3, int(camera.size[0] / 256 * 3 / half) | 1)
    mask = cv2.blur(mask, (blur, blur))
    if half > 1:
        mask = cv2.resize(mask, (below.shape[1], below.shape[0]))
    ones = np.full(mask.shape, 255, np.uint8)
    factors = cv2.merge([mask, mask, mask, ones])
    canvas.pixels[top:] = cv2.multiply(below, factors, scale=1 / 255)


_ANGLES = np.linspace(0, 2 * np.pi, 10, endpoint=False)
_RING = np.stack([np.cos(_ANGLES), np.zeros(10), np.sin(_ANGLES)], axis=1)
