# SPDX-License-Identifier: Apache-2.0
"""Cars: a side profile extruded to a body, with glass, wheels and lights."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .camera import NEAR_M, Array
from .canvas import Canvas

# Side outlines from the rear bumper over the roof to the front, (along, up) as shares of length
# and height, and the pieces between consecutive points that are glass.
_PROFILES = {
    'saloon': (
        [
            (0, 0.15),
            (0, 0.58),
            (0.03, 0.66),
            (0.17, 0.69),
            (0.31, 0.97),
            (0.56, 1.0),
            (0.72, 0.69),
            (0.96, 0.58),
            (1, 0.5),
            (1, 0.15),
        ],
        (3, 5),
        0.68,
    ),
    'hatchback': (
        [
            (0, 0.15),
            (0, 0.58),
            (0.05, 0.68),
            (0.14, 0.96),
            (0.5, 1.0),
            (0.69, 0.67),
            (0.96, 0.56),
            (1, 0.46),
            (1, 0.15),
        ],
        (2, 4),
        0.66,
    ),
    'estate': (
        [
            (0, 0.16),
            (0, 0.58),
            (0.02, 0.66),
            (0.1, 0.97),
            (0.56, 1.0),
            (0.71, 0.67),
            (0.96, 0.59),
            (1, 0.5),
            (1, 0.16),
        ],
        (2, 4),
        0.66,
    ),
    'van': (
        [
            (0, 0.12),
            (0, 0.55),
            (0.01, 0.6),
            (0.03, 0.97),
            (0.7, 1.0),
            (0.86, 0.6),
            (0.98, 0.48),
            (1, 0.4),
            (1, 0.12),
        ],
        (2, 4),
        0.58,
    ),
}
_SIZES = {
    'saloon': (4.6, 1.78, 1.45),
    'hatchback': (4.0, 1.74, 1.5),
    'estate': (4.7, 1.86, 1.7),
    'van': (5.2, 1.98, 2.2),
}
_LARGE = {
    'lorry': (
        [
            (0, 0.14),
            (0, 0.5),
            (0, 0.6),
            (0.005, 0.98),
            (0.7, 1.0),
            (0.705, 0.9),
            (0.95, 0.86),
            (0.985, 0.55),
            (1, 0.42),
            (1, 0.14),
        ],
        (6,),
        0.5,
    ),
    'bus': (
        [
            (0, 0.1),
            (0, 0.42),
            (0.005, 0.5),
            (0.01, 0.95),
            (0.985, 1.0),
            (0.995, 0.5),
            (1, 0.4),
            (1, 0.1),
        ],
        (2, 4),
        0.45,
    ),
}
_LARGE_SIZES = {'lorry': (7.5, 2.3, 3.1), 'bus': (10.5, 2.5, 3.1)}
_PAINTS = np.array(
    [
        [225, 225, 228],
        [178, 182, 188],
        [112, 116, 122],
        [34, 35, 38],
        [28, 40, 82],
        [48, 88, 150],
        [150, 26, 28],
        [196, 42, 34],
        [42, 84, 60],
        [212, 178, 60],
        [120, 92, 66],
        [205, 200, 182],
        [88, 150, 178],
    ],
    float,
)
_SHARES = np.array([15, 12, 14, 14, 8, 8, 5, 6, 4, 2, 4, 4, 4]) / 100
_GLASS = np.array([44, 52, 62], float)
_CIRCLE = np.linspace(0, 2 * np.pi, 16, endpoint=False)


@dataclass(frozen=True)
class CarShape:
    """Polygons of a car around the centre of its footprint; x right, y up, z forward, m."""

    points: Array
    """(V, 3) corners of all polygons in order."""

    starts: tuple[int, ...]
    """(P + 1,) start of each polygon in `points`."""

    colors: Array
    """(P, 3) RGB."""

    normals: Array
    """(P, 3) outward unit normals; zero for polygons that are visible from both sides."""

    side: tuple[bool, ...]
    """(P,) whether a polygon belongs to a flank instead of an end."""

    glow: Array
    """(P,) share of the colour that is emitted when lamps are on."""

    size: tuple[float, float, float]
    """Length, width, height, m."""


class _Polygon(NamedTuple):
    corners: Array
    color: Array
    flank: bool = False
    two_sided: bool = False
    glow: float = 0.0


def make_car(rng: np.random.Generator, randomised: bool = False) -> CarShape:
    """Draw a random body, paint and size; the randomised city also has lorries and buses."""
    kind = str(rng.choice(list(_PROFILES), p=[0.35, 0.3, 0.22, 0.13]))
    if randomised and rng.random() < 0.14:
        kind = str(rng.choice(list(_LARGE)))
    profile, glass, belt = (_PROFILES | _LARGE)[kind]
    size = np.array((_SIZES | _LARGE_SIZES)[kind])
    length, width, height = size * rng.uniform(0.94, 1.06, 3)
    if randomised:
        steps = rng.uniform(-0.012, 0.012, (len(profile), 2))
        steps[[0, -1]] = 0
        profile = (np.array(profile) + steps).clip(0, 1).tolist()
    paint = np.clip(rng.choice(_PAINTS, p=_SHARES) + rng.uniform(-14, 14, 3), 12, 245)
    if kind == 'van' and rng.random() < 0.5:
        paint = np.array([228.0, 228, 226])
    outline = np.array(profile) * (length, height) - (length / 2, 0)  # (z, y)
    shares = np.array(profile)[:, 1]
    lean = 0.2 if kind not in ('van', *_LARGE) else 0.08
    half = width / 2 * (1 - lean * np.clip((shares - belt) / (1 - belt), 0, 1))
    body: list[_Polygon] = []
    wheel = 0.31 if kind not in ('van', *_LARGE) else 0.34 if kind == 'van' else 0.48
    axles = (-length * 0.31, length * 0.32)
    for z in axles:
        for sign in (-1, 1):
            x0, x1 = sign * (width / 2 - 0.22), sign * (width / 2 - 0.02)
            body.append(
                _Polygon(
                    np.array([[x0, 0, z], [x1, 0, z], [x1, wheel * 1.6, z], [x0, wheel * 1.6, z]]),
                    np.full(3, 24.0),
                    two_sided=True,
                )
            )
    _strips(body, outline, half, glass, paint)
    _ends(body, rng, length, width, height, paint)
    for sign in (-1, 1):
        _flank(body, sign, outline, half, shares, belt, paint)
        for z in axles:
            for radius, color in (
                (wheel, (22, 22, 24)),
                (wheel * 0.62, (150, 152, 156)),
                (wheel * 0.25, (70, 70, 74)),
            ):
                disc = np.stack(
                    [
                        np.full(16, sign * (width / 2 + 0.01)),
                        wheel + radius * np.sin(_CIRCLE),
                        z + radius * np.cos(_CIRCLE),
                    ],
                    axis=1,
                )
                body.append(_Polygon(disc, np.array(color, float), flank=True))
    return _finish(body, (length, width, height))


def _strips(
    body: list[_Polygon], outline: Array, half: Array, glass: tuple[int, ...], paint: Array
) -> None:
    """Add rear, boot, rear window, roof, windscreen, bonnet and front, one per profile edge."""
    for i in range(len(outline) - 1):
        (z0, y0), (z1, y1) = outline[i], outline[i + 1]
        a, b = half[i], half[i + 1]
        body.append(
            _Polygon(np.array([[-a, y0, z0], [a, y0, z0], [b, y1, z1], [-b, y1, z1]]), paint)
        )
        if i in glass:
            y0, z0, y1, z1 = (
                y0 + 0.1 * (y1 - y0),
                z0 + 0.1 * (z1 - z0),
                y1 - 0.12 * (y1 - y0),
                z1 - 0.12 * (z1 - z0),
            )
            body.append(
                _Polygon(
                    np.array(
                        [
                            [-a * 0.9, y0, z0],
                            [a * 0.9, y0, z0],
                            [b * 0.88, y1, z1],
                            [-b * 0.88, y1, z1],
                        ]
                    ),
                    _GLASS,
                )
            )
            middle = 0.55
            ym, zm = y0 + middle * (y1 - y0), z0 + middle * (z1 - z0)
            top = (y1, z1, b) if y1 > y0 else (y0, z0, a)
            body.append(
                _Polygon(
                    np.array(
                        [
                            [-half[i] * 0.85, ym, zm],
                            [half[i] * 0.5, ym, zm],
                            [top[2] * 0.5, top[0], top[1]],
                            [-top[2] * 0.85, top[0], top[1]],
                        ]
                    ),
                    _GLASS + 34,
                )
            )


def _ends(
    body: list[_Polygon],
    rng: np.random.Generator,
    length: float,
    width: float,
    height: float,
    paint: Array,
) -> None:
    """Add lamps, plates, bumpers and a grille to the two end faces."""
    w = width / 2
    plate = rng.choice([[226, 226, 220], [222, 196, 70]]).astype(float)
    for z, lamp, glow in (
        (-length / 2 - 0.01, np.array([176.0, 22, 20]), 0.7),
        (length / 2 + 0.01, np.array([232.0, 232, 222]), 1.0),
    ):

        def quad(x0: float, x1: float, y0: float, y1: float, z: float = z) -> Array:
            return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])

        body.append(_Polygon(quad(-w, w, height * 0.15, height * 0.29), paint * 0.35))
        if z > 0:
            body.append(
                _Polygon(quad(-w * 0.55, w * 0.55, height * 0.33, height * 0.43), np.full(3, 28.0))
            )
        top = 0.56 if z < 0 else 0.47
        body.extend(
            _Polygon(
                quad(sign * w * 0.66, sign * w * 0.97, height * (top - 0.11), height * top),
                lamp,
                glow=glow,
            )
            for sign in (-1, 1)
        )
        body.append(_Polygon(quad(-0.26, 0.26, height * 0.3, height * 0.3 + 0.12), plate))


def _flank(
    body: list[_Polygon],
    sign: int,
    outline: Array,
    half: Array,
    shares: Array,
    belt: float,
    paint: Array,
) -> None:
    """Add lower body, cabin and side windows of one side."""
    w = half.max()
    low = shares <= belt + 0.03
    lower = np.stack([np.full(low.sum(), sign * w), outline[low, 1], outline[low, 0]], axis=1)
    body.append(_Polygon(lower, paint * 0.97, flank=True))
    sill = outline[0, 1]
    z0, z1 = outline[0, 0] * 0.96, outline[-1, 0] * 0.96
    body.append(
        _Polygon(
            np.array(
                [
                    [sign * w, sill, z0],
                    [sign * w, sill, z1],
                    [sign * w, sill * 1.4, z1],
                    [sign * w, sill * 1.4, z0],
                ]
            ),
            paint * 0.45,
            flank=True,
        )
    )
    beam = (outline[0, 1] + belt * outline[:, 1].max()) / 2 + 0.08
    body.append(
        _Polygon(
            np.array(
                [
                    [sign * w, beam, z0],
                    [sign * w, beam, z1],
                    [sign * w, beam + 0.05, z1],
                    [sign * w, beam + 0.05, z0],
                ]
            ),
            np.minimum(paint * 1.12 + 6, 255),
            flank=True,
        )
    )
    top = belt * outline[:, 1].max() - 0.02
    body.extend(
        _Polygon(
            np.array(
                [
                    [sign * w, sill * 1.5, z],
                    [sign * w, sill * 1.5, z + 0.025],
                    [sign * w, top, z + 0.025],
                    [sign * w, top, z],
                ]
            ),
            paint * 0.6,
            flank=True,
        )
        for z in (z0 * 0.42, z0 * 0.02, z1 * 0.45)
    )
    upper = np.flatnonzero(~low)
    cabin_i = np.concatenate([[upper[0] - 1], upper, [upper[-1] + 1]])
    cabin = np.stack([sign * half[cabin_i], outline[cabin_i, 1], outline[cabin_i, 0]], axis=1)
    body.append(_Polygon(cabin, paint, flank=True))
    middle = cabin.mean(axis=0)
    window = middle + (cabin - middle) * (1.0, 0.76, 0.84) + (sign * 0.004, 0.01, 0)
    body.append(_Polygon(window, _GLASS + 8, flank=True))
    post = middle[2] + 0.02
    y0, y1 = cabin[:, 1].min() + 0.04, cabin[:, 1].max() - 0.03
    x0, x1 = sign * (w + 0.004), sign * (half.min() + 0.004)
    body.append(
        _Polygon(
            np.array(
                [
                    [x0, y0, post - 0.05],
                    [x0, y0, post + 0.05],
                    [x1, y1, post + 0.05],
                    [x1, y1, post - 0.05],
                ]
            ),
            paint * 0.8,
            flank=True,
        )
    )


def _finish(body: list[_Polygon], size: tuple[float, float, float]) -> CarShape:
    centre = np.array([0, size[2] * 0.45, 0])
    corners = np.stack([polygon.corners[:3] for polygon in body])  # (P, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normals * (corners[:, 0] - centre)).sum(axis=1)
    normals *= (np.sign(outward) / np.maximum(np.linalg.norm(normals, axis=1), 1e-9))[:, None]
    normals[[polygon.two_sided for polygon in body]] = 0
    starts = np.cumsum([0, *(len(polygon.corners) for polygon in body)])
    return CarShape(
        np.concatenate([polygon.corners for polygon in body]),
        tuple(starts.tolist()),
        np.array([polygon.color for polygon in body], float),
        normals,
        tuple(polygon.flank for polygon in body),
        np.array([polygon.glow for polygon in body]),
        size,
    )


def turn(points: Array, heading: float) -> Array:
    """Rotate (..., 3) points or normals from facing +z to a heading (radians, to the right)."""
    sin, cos = np.sin(heading), np.cos(heading)
    return points @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def paint_car(
    canvas: Canvas,
    shape: CarShape,
    place: Array,
    heading: float,
    flank_surface: int,
    end_surface: int,
) -> None:
    """Paint a car at `place` (3,) in street coordinates."""
    camera, light = canvas.camera, canvas.light
    place, heading = camera.bent(place, heading)
    points = camera.to_camera(turn(shape.points, heading) + place, bend=False)
    if points[:, 2].max() < NEAR_M:
        return
    normals = turn(shape.normals, heading)
    first = np.array(shape.starts[:-1])
    seen_normals = normals @ camera.rotation.T
    towards = -(seen_normals * points[first]).sum(axis=1)
    shown = np.flatnonzero((towards > 0) | ~shape.normals.any(axis=1))
    glow = shape.glow[:, None] * light.lamps
    colors = shape.colors * (light.shade(normals) * (1 - glow) + 1.1 * glow)
    depth = float(np.maximum(points[:, 2], NEAR_M).mean())
    pixels = camera.to_pixels(points)
    canvas.polygons(
        [pixels[shape.starts[i] : shape.starts[i + 1]] for i in shown],
        canvas.hazy(colors[shown], depth),
        [flank_surface if shape.side[i] else end_surface for i in shown],
    )
    near, far = float(points[:, 2].min()), float(points[:, 2].max())
    side_points = [i for i in shown if shape.side[i]]
    if side_points:
        i = side_points[0]
        canvas.set_plane(flank_surface, camera.plane(seen_normals[i], points[first[i]]), near, far)
    forward = turn(np.array([0.0, 0, 1]), heading)
    corners = np.array([[0, 0.5, -shape.size[0] / 2], [0, 0.5, shape.size[0] / 2]])
    ends = camera.to_camera(turn(corners, heading) + place, bend=False)
    end = ends[np.argmin((ends**2).sum(axis=1))]
    canvas.set_plane(end_surface, camera.plane(camera.rotation @ forward, end), near, far)
