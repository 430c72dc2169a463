# SPDX-License-Identifier: Apache-2.0
"""Random layout of a street: houses, furniture and traffic."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .labels import BUILDING, POLE, VEGETATION
from .profile import Profile, make_profile
from .surfaces import BACKGROUND, SURFACES
from .textures import BAY_M, FLOOR_M, facades
from .traffic import Mover, make_traffic

HOUSES_M = 165.0
"""Length after which the houses of a street repeat."""


@dataclass(frozen=True)
class Fixed:
    """Static object; `kind` determines the meaning of the other numbers."""

    kind: str
    """One of house, gable, tree, bush, hedge, lamp, sign; in the randomised city also bare (a tree
    without leaves), fence, box, lights (a traffic light) and post."""

    class_id: int
    x: float
    z: float
    size: tuple[float, float, float]
    """Width along the road, height, and depth away from the road, m."""

    style: int
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """Street with its profile, objects, traffic, light and camera."""

    profile: Profile
    fixed: tuple[Fixed, ...]
    movers: tuple[Mover, ...]
    camera_x: float
    camera_speed: float
    zebra_z: float | None
    on_pavement: bool


def make_layout(
    rng: np.random.Generator,
    furnish: Callable[[np.random.Generator, Profile], list[Fixed]] | None = None,
    more_movers: Callable[[np.random.Generator, Profile], list[Mover]] | None = None,
) -> Layout:
    """Draw a random street, its traffic and the camera's path.

    Args:
        rng: source of all random values.
        furnish: draws the objects beside the street in place of the plain city's.
        more_movers: draws things in addition to the plain city's traffic.
    """
    profile = make_profile(rng)
    mode = str(rng.choice(['drive', 'queue', 'crossing', 'pavement'], p=[0.6, 0.1, 0.15, 0.15]))
    speed = rng.uniform(3, 13) if mode == 'drive' else 0.0
    lane = int(rng.integers(profile.lanes))
    camera_x = profile.lane_m * (lane + 0.5) + rng.uniform(-0.3, 0.3)
    if mode == 'pavement':
        camera_x = profile.kerb_x + rng.uniform(-0.2, 0.6)
    fixed = [
        thing
        for side in (-1, 1)
        for thing in (*_houses(rng, profile, side), *_furniture(rng, profile, side))
    ]
    if furnish is not None:
        fixed = furnish(rng, profile)
    movers = make_traffic(rng, profile, mode, speed, camera_x)
    if more_movers is not None:
        movers += more_movers(rng, profile)
    zebra = None
    if mode == 'crossing':
        zebra = 7.5
    elif rng.random() < 0.3:
        zebra = rng.uniform(0, 40)
    room = SURFACES - len(BACKGROUND) - sum(mover.surfaces for mover in movers)
    return Layout(
        profile, _thin(fixed, room), tuple(movers), camera_x, speed, zebra, mode == 'pavement'
    )


def _thin(fixed: list[Fixed], room: int) -> tuple[Fixed, ...]:
    """Remove plants, evenly along the street, if there are more objects than surface numbers."""
    surplus = max(0, len(fixed) - room)
    plants = [thing for thing in fixed if thing.class_id == VEGETATION]
    if surplus > len(plants) // 2:  # a crowded street of the randomised city
        plants = [thing for thing in fixed if thing.kind not in ('house', 'gable', 'lamp')]
    out = {id(plants[i * len(plants) // surplus]) for i in range(surplus)}
    return tuple(thing for thing in fixed if id(thing) not in out)


def _houses(rng: np.random.Generator, profile: Profile, side: int) -> list[Fixed]:
    fixed: list[Fixed] = []
    x, z = side * profile.front(side), 0.0
    before: tuple[float, float] | None = None
    fronts = facades()
    gap_chance = rng.choice([0.05, 0.3, 0.6])
    hues = np.array(
        [
            [1.0, 0.96, 0.9],
            [0.98, 0.78, 0.66],
            [0.86, 0.66, 0.5],
            [0.9, 0.9, 0.92],
            [0.98, 0.93, 0.74],
            [0.72, 0.74, 0.76],
            [0.78, 0.58, 0.52],
            [0.8, 0.88, 0.84],
        ]
    )
    while z < HOUSES_M - 8:
        if rng.random() < gap_chance:
            width = min(rng.uniform(4, 14), HOUSES_M - z)
            fixed.extend(
                Fixed(
                    'tree' if rng.random() < 0.5 else 'bush',
                    VEGETATION,
                    x + side * rng.uniform(0.5, 4),
                    float(at),
                    _crown_size(rng, 1.0),
                    int(rng.integers(12)),
                    _green(rng),
                )
                for at in np.arange(z + 2, z + width - 1, 4.5)
            )
            z, before = z + width, None
            continue
        style = int(rng.integers(len(fronts)))
        floors, bays, _ = fronts[style]
        width, height = bays * BAY_M * rng.uniform(0.9, 1.15), floors * FLOOR_M
        if z + width > HOUSES_M:
            break
        back = rng.uniform(0, 1.2) if rng.random() < 0.4 else 0.0
        tint = hues[rng.integers(len(hues))] * rng.uniform(0.75, 1.12, 1)
        size = (width, height, rng.uniform(7, 11))
        roof = int(rng.integers(4))
        fixed.append(
            Fixed('house', BUILDING, x + side * back, z, size, style, (tint[0], tint[1], tint[2]))
        )
        # Behind a neighbour of the same height and front the end wall is invisible.
        if roof in (1, 2) or before is None or before[0] < height or before[1] > back:
            fixed.append(
                Fixed(
                    'gable',
                    BUILDING,
                    x + side * back,
                    z,
                    size,
                    roof,
                    (tint[0] * 0.9, tint[1] * 0.9, tint[2] * 0.9),
                )
            )
        before = height, back
        z += width
    if profile.garden_m[side > 0] and rng.random() < 0.6:
        hedge_x = side * (profile.walk(side)[1] + 0.3)
        high = rng.uniform(0.8, 1.6)
        fixed.extend(
            Fixed(
                'hedge',
                VEGETATION,
                hedge_x,
                float(at),
                (rng.uniform(7, 10), high, 0.8),
                0,
                _green(rng),
            )
            for at in np.arange(0, HOUSES_M, 11)
            if rng.random() < 0.8
        )
    return fixed


def _crown_size(rng: np.random.Generator, scale: float) -> tuple[float, float, float]:
    return (rng.uniform(2.8, 5.5) * scale, rng.uniform(4.5, 9.0) * scale, 0.0)


def _green(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = _GREENS[(0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[rng.integers(10)]]
    bright = rng.uniform(0.8, 1.15)
    return red * bright, green * bright, blue * bright


_GREENS = ((0.62, 0.72, 0.5), (0.75, 0.85, 0.45), (0.5, 0.62, 0.48), (1.0, 0.75, 0.4))
"""Tints of leaves: three greens and, less often, autumn colours."""


def _furniture(rng: np.random.Generator, profile: Profile, side: int) -> list[Fixed]:
    fixed: list[Fixed] = []
    edge = side * (profile.kerb_x + max(0.5, profile.verge_m[side > 0] / 2))
    if rng.random() < 0.6:
        step = rng.uniform(9, 20)
        fixed.extend(
            Fixed(
                'tree',
                VEGETATION,
                edge,
                float(z),
                _crown_size(rng, 0.85),
                int(rng.integers(12)),
                _green(rng),
            )
            for z in np.arange(rng.uniform(0, step), HOUSES_M, step)
            if rng.random() < 0.85
        )
    shape = int(rng.integers(2))
    step = rng.uniform(18, 28)
    fixed.extend(
        Fixed('lamp', POLE, edge, float(z), (0, rng.uniform(5.5, 7.5), 0), shape, (1, 1, 1))
        for z in np.arange(rng.uniform(0, step) + 1.3, HOUSES_M, step)
    )
    fixed.extend(
        Fixed(
            'sign',
            POLE,
            edge + side * 0.25,
            float(z),
            (0, rng.uniform(2.4, 3.0), 0),
            int(rng.integers(5)),
            (1, 1, 1),
        )
        for z in rng.uniform(0, HOUSES_M, rng.integers(3, 9))
    )
    return fixed
