# SPDX-License-Identifier: Apache-2.0
"""Static objects of a street: houses, hedges, trees and poles."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .camera import NEAR_M, Array, PinholeCamera, cross
from .canvas import Canvas
from .layout import HOUSES_M, Fixed
from .profile import BEHIND_M
from .randomised_textures import crown, facade, foliage
from .textures import PLAIN_CROWNS, level_of

_WALLS = ('house', 'gable', 'hedge', 'fence')
_THIN = ('lamp', 'sign', 'lights', 'post')


@dataclass(frozen=True)
class Standing:
    """Static object relative to the camera's current position."""

    fixed: Fixed
    surface: int
    z: float
    """Distance from the camera along the road, m."""

    ends: Array
    """(2, 3) first and last point of its foot along the road, camera coordinates, m."""

    distance: float
    """Depth by which objects are ordered; for a wall that of its far end, since all objects in
    front of a wall are nearer than that."""

    @property
    def depth(self) -> float:
        """Depth of the first point of its foot, m."""
        return float(self.ends[0, 2])

    def paint(self, canvas: Canvas) -> None:
        """Paint the object; upright ones only from a depth of 1 m on."""
        paint = _KINDS[self.fixed.kind][0]
        if self.fixed.kind in _WALLS:
            paint(canvas, self)
        elif self.depth >= 1:
            paint(canvas, self)
            canvas.set_depth(self.surface, self.depth)


class Furniture:
    """All static objects of a street, and a search for those in view."""

    def __init__(self, fixed: Sequence[Fixed], first_surface: int) -> None:
        self.fixed, self.first_surface = fixed, first_surface
        self.x = np.array([thing.x for thing in fixed])
        self.z = np.array([thing.z for thing in fixed])
        self.length = np.array([thing.size[0] * (thing.kind in _WALLS) for thing in fixed])
        self.margin = np.array(
            [0.5 if thing.kind in _WALLS else max(thing.size[0], 2.0) for thing in fixed]
        )
        self.behind = np.array([0.1 * (thing.kind == 'gable') for thing in fixed])
        self.least = np.array([_KINDS[thing.kind][1] for thing in fixed])
        self.wide = np.array([0.24 if thing.kind in _THIN else thing.size[0] for thing in fixed])

    def beside(self, camera_z: float, reach_m: float) -> list[tuple[Fixed, float]]:
        """Return objects up to `reach_m` ahead, in view or not, with their distance."""
        z = (self.z - camera_z + BEHIND_M) % HOUSES_M - BEHIND_M
        return [(self.fixed[i], float(z[i])) for i in np.flatnonzero(z < reach_m).tolist()]

    def around(self, camera: PinholeCamera, camera_z: float) -> list[Standing]:
        """Return the objects in view."""
        z = (self.z - camera_z + BEHIND_M) % HOUSES_M - BEHIND_M
        far = z + self.length
        zero = np.zeros_like(z)
        ends = camera.to_camera(
            np.concatenate(
                [np.stack([self.x, zero, z], axis=1), np.stack([self.x, zero, far], axis=1)]
            )
        )
        ends = np.stack(np.split(ends, 2), axis=1)  # (N, 2, 3)
        slope = 0.5 * camera.size[1] / camera.focal_px
        depth = ends[..., 2]
        outside = (ends[..., 0] - slope * depth > self.margin[:, None]).all(axis=1) | (
            -ends[..., 0] - slope * depth > self.margin[:, None]
        ).all(axis=1)
        nearest = np.maximum(depth.min(axis=1), NEAR_M)
        small = self.wide * camera.focal_px / nearest < self.least * camera.size[1] / 512
        seen = np.flatnonzero(~outside & ~small & (depth.max(axis=1) > 2 * NEAR_M))
        distance = np.hypot(self.x - camera.position[0], far) + self.behind
        return [
            Standing(
                self.fixed[i], self.first_surface + i, float(z[i]), ends[i], float(distance[i])
            )
            for i in seen.tolist()
        ]


def _wall(canvas: Canvas, thing: Standing) -> None:
    """Paint a textured wall along the road."""
    camera, foot, style = canvas.camera, thing.ends, thing.fixed.style
    pyramid = foliage(style) if thing.fixed.kind == 'hedge' else facade(style)[2]
    first, last = float(foot[0, 2]), float(foot[1, 2])
    start, stop, near = 0.0, 1.0, 2 * NEAR_M
    if min(first, last) < near:  # cut off the part behind the camera
        cut = (near - first) / (last - first)
        start, stop = (cut, 1.0) if first < last else (0.0, cut)
        foot = foot[0] + (foot[1] - foot[0]) * np.array([[start], [stop]])
    up = camera.rotation[:, 1] * thing.fixed.size[1]
    corners = camera.to_pixels(np.concatenate([foot + up, foot[::-1]]))
    (u0, v0), (u1, v1), (_, v2), (_, v3) = corners.tolist()
    high, wide = max(abs(v3 - v0), abs(v2 - v1), 1.0), max(abs(u1 - u0), 1.0)
    depth = float(foot[0, 2] + foot[1, 2]) / 2
    tint = canvas.wall_light(thing.fixed.x) * thing.fixed.tint
    if wide < _SLIVER * camera.size[1]:  # too narrow to show its windows
        color = np.array(cv2.mean(pyramid[-1])[:3]) * tint
        canvas.polygons([corners], canvas.hazy(color[None], depth), [thing.surface])
    else:
        h, w = pyramid[0].shape[:2]
        texels = max(h / high, 0.5) * max(w * (stop - start) / wide, 0.5)  # per pixel
        texture = level_of(pyramid, math.sqrt(texels))
        w = texture.shape[1]
        left = math.floor(start * w)
        right = max(math.ceil(stop * w), left + 1)
        canvas.textured(corners, texture[:, left:right], tint, depth, thing.surface)
    canvas.set_plane(
        thing.surface,
        camera.plane(cross(foot[1] - foot[0], up), foot[0]),
        min(first, last),
        max(first, last),
    )


_SLIVER = 8 / 512
_ROOF_RISE_M = (0.0, 2.2, 3.2, 0.0)
_TILES = np.array([[120.0, 66, 52], [74, 76, 84], [104, 84, 70], [90, 90, 92]])


def _gable(canvas: Canvas, thing: Standing) -> None:
    """Paint the end wall that faces the camera, and the roof."""
    camera, fixed, z = canvas.camera, thing.fixed, thing.z
    width, height, depth = fixed.size
    side = math.copysign(1.0, fixed.x)
    x0, x1 = fixed.x, fixed.x + side * depth
    middle, rise = (x0 + x1) / 2, _ROOF_RISE_M[fixed.style]
    points = camera.to_camera(
        np.array(
            [
                [x0, 0, z],
                [x0, height, z],
                [middle, height + rise, z],
                [x1, height, z],
                [x1, 0, z],
                [x0 - side * 0.3, height - 0.1, z - 0.2],
                [middle, height + rise, z],
                [middle, height + rise, z + width],
                [x0 - side * 0.3, height - 0.1, z + width + 0.2],
            ]
        )
    )
    wall, roof = points[:5], points[5:]
    shown = [part[:, 2].min() > NEAR_M for part in (wall, roof)]
    shown[1] &= rise > 0
    colors = np.array(
        [canvas.end_light * fixed.tint * 200, canvas.roof_light(side) * _TILES[fixed.style]]
    )
    pixels = camera.to_pixels(points)
    parts = [part for part, show in zip((pixels[:5], pixels[5:]), shown, strict=True) if show]
    canvas.polygons(
        parts, canvas.hazy(colors[shown], float(wall[0, 2])), [thing.surface] * len(parts)
    )
    canvas.set_plane(
        thing.surface,
        camera.plane(cross(wall[1] - wall[0], wall[4] - wall[0]), wall[0]),
        float(points[:, 2].min()),
        float(points[:, 2].max()),
    )


def _plant(canvas: Canvas, thing: Standing) -> None:
    camera, light = canvas.camera, canvas.light
    foot, depth = thing.ends[0], thing.depth
    wide, high, _ = thing.fixed.size
    if thing.fixed.kind == 'bush':
        high = wide = min(wide, 2.2)
    tall = wide * 1.05
    base = max(high - tall, 0.0) if thing.fixed.kind == 'tree' else -0.15 * tall
    if thing.fixed.kind == 'bare':
        tall, base = high, -0.02 * high
    up = camera.rotation[:, 1]
    if base > 0:
        canvas.sticks(
            np.stack([foot, foot + up * (base + 0.35 * tall)])[None],
            np.array([[0.17, 0.11]]),
            np.array([[92.0, 76, 62]]) * light.ambient,
            thing.surface,
        )
    centre = camera.to_pixels((foot + up * (base + tall / 2))[None])[0]
    scale = camera.focal_px / depth
    tint = (light.ambient + 0.6 * light.sun) * thing.fixed.tint
    canvas.cut_out(
        centre,
        (wide * scale, tall * scale),
        crown(thing.fixed.style),
        tint,
        depth,
        thing.surface,
        thin=thing.fixed.style >= PLAIN_CROWNS,
    )


def _pole(canvas: Canvas, thing: Standing) -> None:
    camera, light = canvas.camera, canvas.light
    foot = thing.ends[0]
    level = light.ambient + 0.5 * light.sun
    up = camera.rotation[:, 1]
    inward = -math.copysign(1.0, thing.fixed.x) * camera.rotation[:, 0]
    top = foot + up * thing.fixed.size[1]
    if thing.fixed.kind == 'sign':
        canvas.sticks(
            np.array([[foot, top]]),
            np.array([[0.09, 0.09]]),
            np.array([[96.0, 98, 100]]) * level,
            thing.surface,
        )
        _board(canvas, thing.fixed.style, top, level, thing.surface)
    elif thing.fixed.kind in ('lights', 'post'):
        paint = np.array(thing.fixed.tint) * 120 * level
        canvas.sticks(
            np.array([[foot, top]]), np.array([[0.07, 0.06]]), paint[None], thing.surface
        )
        if thing.fixed.kind == 'lights':
            _traffic_light(canvas, thing.fixed.style, top, level, thing.surface)
    else:
        sticks, radii = [[foot, top]], [[0.13, 0.09]]
        if thing.fixed.style:
            sticks += [
                [top, top + inward * 1.5 + up * 0.15],
                [top + inward * 1.1 + up * 0.12, top + inward * 1.9 + up * 0.15],
            ]
            radii += [[0.07, 0.06], [0.13, 0.12]]
        else:
            sticks += [[top, top + up * 0.35]]
            radii += [[0.22, 0.28]]
        colors = np.tile(np.array([77.0, 78, 80]) * level, (len(sticks), 1))
        if light.lamps:
            colors[-1] = (255, 236, 190)
        canvas.sticks(np.array(sticks), np.array(radii), colors, thing.surface)


def _traffic_light(canvas: Canvas, style: int, top: Array, level: Array, surface: int) -> None:
    """Paint a traffic light: a dark box with one bright lamp."""
    scale = canvas.camera.focal_px / float(top[2])
    centre = canvas.camera.to_pixels(top[None])[0]
    box = np.array([[-0.17, -0.5], [0.17, -0.5], [0.17, 0.5], [-0.17, 0.5]])
    high = -0.32 + 0.32 * style
    lamp = np.array([[-0.1, high - 0.1], [0.1, high - 0.1], [0.1, high + 0.1], [-0.1, high + 0.1]])
    colors = np.array(
        [[24.0, 26, 26] * level, [(255, 60, 40), (255, 190, 50), (60, 255, 150)][style]]
    )
    canvas.polygons(
        [centre + shape * scale for shape in (box, lamp)],
        canvas.hazy(colors, float(top[2])),
        [surface] * 2,
    )


def _box(canvas: Canvas, thing: Standing) -> None:
    """Paint an object of no class that faces the camera."""
    camera, foot, depth = canvas.camera, thing.ends[0], thing.depth
    wide, high, _ = thing.fixed.size
    right, up = camera.rotation[:, 0] * wide / 2, camera.rotation[:, 1] * high
    corners = camera.to_pixels(
        np.array([foot - right + up, foot + right + up, foot + right, foot - right])
    )
    pyramid = facade(thing.fixed.style)[2]
    texture = level_of(pyramid, pyramid[0].shape[1] / max(wide * camera.focal_px / depth, 1.0))
    light = canvas.light
    canvas.textured(
        corners,
        texture,
        (light.ambient + 0.5 * light.sun) * thing.fixed.tint,
        depth,
        thing.surface,
    )


def _board(canvas: Canvas, style: int, top: Array, level: Array, surface: int) -> None:
    """Paint a traffic sign: two nested shapes that face the camera; `top` in its coordinates."""
    corners, outer, inner = _SIGNS[style]
    start = math.pi / 2 if corners != 4 else math.pi / 4
    angle = start + np.linspace(0, 2 * math.pi, corners, endpoint=False)
    shape = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    scale = canvas.camera.focal_px / float(top[2])
    centre = canvas.camera.to_pixels(top[None])[0] + (0, 0.3 * scale)
    colors = np.array([outer, inner], float) * level
    canvas.polygons(
        [centre + shape * (radius * scale) for radius in (0.42, 0.3)],
        canvas.hazy(colors, float(top[2])),
        [surface] * 2,
    )


_SIGNS = (
    (3, (200, 30, 30), (238, 238, 238)),
    (16, (200, 30, 30), (238, 238, 238)),
    (4, (30, 70, 170), (60, 100, 196)),
    (16, (24, 80, 180), (220, 226, 240)),
    (4, (214, 190, 40), (238, 216, 70)),
)
"""Corners, rim and field of each kind of sign."""

_KINDS: dict[str, tuple[Callable[[Canvas, Standing], None], float]] = {
    'house': (_wall, 0.0),
    'gable': (_gable, 0.0),
    'hedge': (_wall, 0.0),
    'tree': (_plant, 12.0),
    'bush': (_plant, 12.0),
    'lamp': (_pole, 3.0),
    'sign': (_pole, 3.0),
    'fence': (_wall, 0.0),
    'bare': (_plant, 12.0),
    'box': (_box, 6.0),
    'lights': (_pole, 2.5),
    'post': (_pole, 2.0),
}
"""Painter of each kind, and the smallest width of an object that is drawn, in pixels of an image
of 512 px width."""
