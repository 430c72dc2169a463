# SPDX-License-Identifier: Apache-2.0
"""Pedestrians and cyclists made of sticks with round ends, which move with their gait."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .camera import Array
from .canvas import Canvas
from .car import turn

_SKIN = np.array([[236, 196, 168], [205, 158, 122], [150, 104, 74], [92, 62, 46]], float)
_HAIR = np.array(
    [[30, 24, 20], [70, 48, 30], [150, 110, 60], [120, 118, 116], [96, 40, 24]], float
)
_CLOTH = np.array(
    [
        [28, 32, 46],
        [60, 66, 78],
        [140, 36, 40],
        [198, 60, 44],
        [46, 86, 140],
        [90, 150, 190],
        [60, 100, 64],
        [210, 190, 90],
        [222, 220, 214],
        [120, 84, 110],
        [214, 120, 40],
        [90, 70, 54],
        [20, 20, 22],
    ],
    float,
)

Stick = tuple[tuple[float, float, float], tuple[float, float, float], float, float, Array]
"""Two ends (x right, y up, z forward), m; their two radii, m; RGB."""


@dataclass(frozen=True)
class Look:
    """Build and clothing of a person or rider."""

    height: float
    broad: float
    skin: Array
    hair: Array
    top: Array
    legs: Array
    shoes: Array
    long_hair: bool
    coat: bool
    bag: Array | None
    bicycle: Array
    helmet: Array | None
    shade: float = 0.0
    """How much brighter the lit side of a limb is; negative on the left, 0 for none."""


def make_look(rng: np.random.Generator) -> Look:
    """Draw a random person; one in eight is a child."""
    child = rng.random() < 0.12
    cloth = _CLOTH[rng.permutation(len(_CLOTH))[:5]] + rng.uniform(-12, 12, (5, 3))
    cloth = np.clip(cloth, 8, 245)
    return Look(
        rng.uniform(1.15, 1.4) if child else rng.uniform(1.58, 1.9),
        rng.uniform(0.9, 1.15),
        _SKIN[rng.integers(4)],
        _HAIR[rng.integers(5)],
        cloth[0],
        cloth[1] * 0.8,
        cloth[2] * 0.4,
        rng.random() < 0.4,
        rng.random() < 0.3,
        cloth[3] if rng.random() < 0.35 else None,
        cloth[4],
        np.clip(cloth[3] * 1.2, 0, 245) if rng.random() < 0.6 else None,
    )


def walker(
    look: Look, stride_m: float, moving: bool, near_side: int, frontal: float
) -> list[Stick]:
    """Return the sticks of a pedestrian, in drawing order.

    Args:
        look: build and clothing.
        stride_m: distance walked so far, m, which sets the phase of the gait.
        moving: False for a standing person.
        near_side: side towards the camera, which is drawn last: +1 right, -1 left.
        frontal: 0 in side view, 1 from the front or back.
    """
    h = look.height
    swing = 0.5 if moving else 0.05
    phase = 2 * math.pi * stride_m / (0.85 * h)
    hip, shoulder = 0.5 * h, 0.81 * h
    bob = 0.012 * h * math.cos(2 * phase) if moving else 0.0
    broad = look.broad * h

    def leg(side: int) -> list[Stick]:
        angle = swing * math.sin(phase + (math.pi if side > 0 else 0))
        bend = 0.7 * swing * (1 + math.cos(phase + (math.pi if side > 0 else 0)))
        x = side * 0.055 * broad
        knee = (x, hip - 0.25 * h * math.cos(angle), 0.25 * h * math.sin(angle))
        back = angle - bend if moving else angle
        foot = (
            x,
            max(0.03, knee[1] - 0.24 * h * math.cos(back)),
            knee[2] + 0.24 * h * math.sin(back),
        )
        toe = (x, foot[1] - 0.005, foot[2] + 0.08 * h)
        return [
            ((x, hip, 0), knee, 0.058 * broad, 0.042 * broad, look.legs),
            (knee, foot, 0.042 * broad, 0.028 * broad, look.legs * 0.95),
            (foot, toe, 0.026 * h, 0.02 * h, look.shoes),
        ]

    def arm(side: int) -> list[Stick]:
        angle = -0.8 * swing * math.sin(phase + (math.pi if side > 0 else 0))
        x = side * 0.125 * broad
        top = (x * 0.95, shoulder - 0.02 * h + bob, 0.0)
        elbow = (x * 1.12, top[1] - 0.17 * h * math.cos(angle), 0.17 * h * math.sin(angle))
        hand = (
            x * 1.12,
            elbow[1] - 0.15 * h * math.cos(angle + 0.3),
            elbow[2] + 0.15 * h * math.sin(angle + 0.3),
        )
        return [
            (top, elbow, 0.036 * broad, 0.03 * broad, look.top * 0.92),
            (elbow, hand, 0.029 * broad, 0.022 * broad, look.top * 0.88),
            (hand, hand, 0.022 * broad, 0.022 * broad, look.skin),
        ]

    chest = (0.085 + 0.015 * frontal) * broad
    body: list[Stick] = []
    spread = 0.05 * broad * frontal
    body.extend(
        (
            (side * spread, hip + bob, 0.0),
            (side * spread * 1.4, shoulder - 0.05 * h + bob, 0.0),
            chest * 0.85,
            chest,
            look.top,
        )
        for side in (-1, 1)
    )
    if look.coat:
        body.append(
            (
                (0, hip - 0.12 * h + bob, 0),
                (0, hip + 0.1 * h + bob, 0),
                chest * 1.25,
                chest * 1.15,
                look.top * 0.95,
            )
        )
    head = (0.0, 0.925 * h + bob, 0.012 * h)
    hair = (0.0, 0.945 * h + bob, -0.012 * h)
    body += [
        ((0, shoulder + bob, 0), (0, 0.88 * h + bob, 0), 0.035 * h, 0.032 * h, look.skin),
        (head, (0.0, head[1] - 0.02 * h, head[2]), 0.058 * h, 0.05 * h, look.skin),
    ]
    crown: Stick = (
        hair,
        (0.0, hair[1] - (0.08 * h if look.long_hair else 0.0), -0.03 * h),
        0.058 * h,
        0.05 * h,
        look.hair,
    )
    body.append(crown)
    if look.bag is not None:
        body.append(
            (
                (0, hip + 0.12 * h, -0.1 * h),
                (0, shoulder - 0.05 * h, -0.1 * h),
                0.075 * broad,
                0.07 * broad,
                look.bag,
            )
        )
    return [*arm(-near_side), *leg(-near_side), *leg(near_side), *body, *arm(near_side)]


def rider(look: Look, rolled_m: float, near_side: int) -> list[Stick]:
    """Return the sticks of a bicycle with its rider; arguments as in `walker`."""
    h = max(look.height, 1.5)
    wheel, axle = 0.34, 0.53
    crank = (0.0, 0.3, -0.05)
    sticks: list[Stick] = []
    dark = np.full(3, 26.0)
    for z in (-axle, axle):
        rim = [
            (0.0, wheel + wheel * math.sin(a), z + wheel * math.cos(a))
            for a in np.linspace(0, 2 * math.pi, 13)
        ]
        sticks += [(p, q, 0.032, 0.032, dark) for p, q in pairwise(rim)]
    saddle, head, bar = (0.0, 0.92, -0.22), (0.0, 0.88, 0.34), (0.0, 1.02, 0.36)
    for p, q in (
        (crank, saddle),
        (crank, (0.0, wheel, -axle)),
        (saddle, (0.0, wheel, -axle)),
        ((0.0, 0.84, -0.18), head),
        (crank, head),
        (bar, (0.0, wheel, axle)),
    ):
        sticks.append((p, q, 0.026, 0.026, look.bicycle))
    sticks.append(((-0.25, 1.02, 0.34), (0.25, 1.02, 0.34), 0.02, 0.02, dark))
    hip, shoulder = (0.0, 0.98, -0.2), (0.0, 0.98 + 0.29 * h, 0.1)

    def leg(side: int) -> list[Stick]:
        angle = rolled_m * 2.2 + (math.pi if side > 0 else 0)
        x = side * 0.1
        pedal = (x, crank[1] + 0.17 * math.cos(angle), crank[2] + 0.17 * math.sin(angle))
        dy, dz = hip[1] - pedal[1], pedal[2] - hip[2]
        reach = math.hypot(dy, dz)
        out = math.sqrt(max(0.26**2 * h * h - reach * reach / 4, 0.0))
        knee = (
            x,
            (hip[1] + pedal[1]) / 2 + out * dz / reach,
            (hip[2] + pedal[2]) / 2 + out * dy / reach,
        )
        return [
            ((x, hip[1], hip[2]), knee, 0.095, 0.07, look.legs),
            (knee, pedal, 0.068, 0.045, look.legs * 0.95),
            (pedal, (x, pedal[1] - 0.01, pedal[2] + 0.12), 0.045, 0.035, look.shoes),
        ]

    def arm(side: int) -> list[Stick]:
        top, hand = (side * 0.19, shoulder[1] - 0.03, shoulder[2]), (side * 0.24, 1.04, 0.34)
        elbow = (side * 0.27, (top[1] + hand[1]) / 2 - 0.06, (top[2] + hand[2]) / 2)
        return [(top, elbow, 0.06, 0.05, look.top * 0.92), (elbow, hand, 0.048, 0.04, look.skin)]

    body: list[Stick] = [
        ((-0.05, hip[1], hip[2]), (-0.09, shoulder[1], shoulder[2]), 0.13, 0.13, look.top),
        ((0.05, hip[1], hip[2]), (0.09, shoulder[1], shoulder[2]), 0.13, 0.13, look.top),
    ]
    y, z = shoulder[1] + 0.13 * h, shoulder[2] + 0.09
    body += [
        (shoulder, (0, y - 0.06, z), 0.06, 0.055, look.skin),
        ((0, y, z), (0, y - 0.04, z + 0.02), 0.1, 0.085, look.skin),
    ]
    cap = look.hair if look.helmet is None else look.helmet
    body.append(((0, y + 0.05, z - 0.04), (0, y + 0.04, z + 0.03), 0.1, 0.09, cap))
    return [*arm(-near_side), *leg(-near_side), *sticks, *body, *leg(near_side), *arm(near_side)]


def paint_sticks(
    canvas: Canvas,
    sticks: list[Stick],
    place: Array,
    heading: float,
    surface: int,
    reach_m: float,
    shade: float,
) -> None:
    """Paint sticks at `place` (3,) with a heading; `reach_m` is their extent."""
    ends = np.array([(stick[0], stick[1]) for stick in sticks], float)
    radii = np.array([(stick[2], stick[3]) for stick in sticks])
    colors = np.array([stick[4] for stick in sticks])
    light = canvas.light
    level = light.ambient + 0.55 * light.sun * max(light.sun_direction[1], 0.3)
    place, heading = canvas.camera.bent(place, heading)
    street = (turn(ends, heading) + place).reshape(-1, 3)
    seen = canvas.camera.to_camera(street, bend=False).reshape(-1, 2, 3)
    colors = colors * level
    if shade:  # each limb is followed by its lit side: a narrower stick beside its axis
        lit = seen.copy()
        lit[..., 0] += np.sign(shade) * 0.4 * radii
        seen, radii = _alternate(seen, lit), _alternate(radii, 0.55 * radii)
        colors = _alternate(colors, np.minimum(colors * (1 + abs(shade)), 255.0))
    canvas.sticks(seen, radii, colors, surface)
    depth = float((place - canvas.camera.offset) @ canvas.camera.rotation[2])
    canvas.set_depth(surface, max(depth - reach_m, 0.3))


def _alternate(first: Array, second: Array) -> Array:
    """Return the rows of two arrays in turn."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])
