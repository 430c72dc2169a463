# SPDX-License-Identifier: Apache-2.0
"""Cars, people and cyclists at one time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .camera import Array, PinholeCamera
from .canvas import Canvas
from .car import CarShape, paint_car, turn
from .labels import CAR, PERSON
from .people import Look, paint_sticks, rider, walker

_HEIGHT_M = {CAR: 1.5}
_COARSE = 4


@dataclass(frozen=True)
class Thing:
    """Moving thing at its current position."""

    class_id: int
    track_id: int
    surface: int
    """First surface number; a car's ends have the next one."""

    look: CarShape | Look
    place: Array
    """(3,) street coordinates of the foot, m."""

    heading: float
    gone_m: float
    """Distance moved so far, m, for the gait."""

    moving: bool

    @property
    def surfaces(self) -> tuple[int, ...]:
        """All surface numbers of the thing."""
        return (self.surface, self.surface + 1) if self.class_id == CAR else (self.surface,)

    def footprint(self) -> Array:
        """Return the corners of a car on the ground, (4, 3)."""
        assert isinstance(self.look, CarShape)
        length, width, _ = self.look.size
        corners = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) * (
            width / 2,
            0,
            length / 2,
        )
        return turn(corners, self.heading) + self.place

    def drawable(self, min_height_px: float, focal_px: float, depth_m: float) -> bool:
        """Return whether the thing is in front of the camera and high enough."""
        tall = _HEIGHT_M.get(self.class_id, 1.7)
        nearest = -1.5 if self.class_id == CAR else 1.2
        return depth_m > nearest and focal_px * tall / max(depth_m, 0.3) >= min_height_px

    def paint(self, canvas: Canvas) -> None:
        """Paint the thing."""
        if isinstance(self.look, CarShape):
            paint_car(canvas, self.look, self.place, self.heading, *self.surfaces)
            return
        to_camera = np.array([canvas.camera.position[0], 0.0, 0.0]) - self.place
        to_camera = turn(to_camera, -self.heading)
        near_side = 1 if to_camera[0] > 0 else -1
        frontal = abs(to_camera[2]) / max(math.hypot(to_camera[0], to_camera[2]), 0.1)
        if self.class_id == PERSON:
            sticks = walker(self.look, self.gone_m, self.moving, near_side, frontal)
            reach = 0.35
        else:
            sticks = rider(self.look, self.gone_m, near_side)
            reach = 0.3 + 0.6 * abs(math.cos(self.heading))
        paint_sticks(
            canvas, sticks, self.place, self.heading, self.surface, reach, self.look.shade
        )

    def box(self) -> tuple[float, float, float]:
        """Approximate length, width and height, m."""
        if isinstance(self.look, CarShape):
            return self.look.size
        return (0.5 if self.class_id == PERSON else 1.5), 0.5, 1.7


_CORNERS = np.array([[x, y, z] for x in (-0.45, 0.45) for y in (0.1, 0.95) for z in (-0.45, 0.45)])


def in_sight(camera: PinholeCamera, things: Sequence[Thing], least_px: float) -> list[Thing]:
    """Return the things that are not almost hidden by the boxes of others, from far to near.

    This fast estimate avoids painting a frame twice. Things that still have too few pixels are
    found by counting after the frame is painted.
    """
    if not things:
        return []
    corners = np.empty((len(things), 8, 3))
    for i, thing in enumerate(things):
        place, heading = camera.bent(thing.place, thing.heading)
        length, width, height = thing.box()
        corners[i] = turn(_CORNERS * (width, height, length), heading) + place
    seen = camera.to_pixels(camera.to_camera(corners.reshape(-1, 3), bend=False))
    cells = np.rint(seen.reshape(-1, 8, 2) / _COARSE).astype(int)
    low, high = cells.min(axis=1), cells.max(axis=1)
    sheet = np.zeros((camera.size[0] // _COARSE, camera.size[1] // _COARSE), np.int64)
    distance = [
        math.hypot(thing.place[0] - camera.position[0], thing.place[2]) for thing in things
    ]
    order = sorted(range(len(things)), key=lambda i: -distance[i])
    for i in order:
        (u0, v0), (u1, v1) = np.maximum(low[i], 0).tolist(), high[i].tolist()
        sheet[v0 : max(v1, 0), u0 : max(u1, 0)] = i + 1
    filled = np.array([0.8 if thing.class_id == CAR else 0.45 for thing in things])
    area = np.bincount(sheet.ravel(), minlength=len(things) + 1)[1:] * filled * _COARSE**2
    return [things[i] for i in order if area[i] >= least_px]
