"""Where everything in a street stands and how it moves, drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .labels import BUILDING, CAR, CYCLIST, PERSON, POLE, VEGETATION
from .surfaces import BACKGROUND, SURFACES
from .textures import BAY_M, FLOOR_M, facades

HOUSES_M = 165.0
"""The houses of a street come again after this length."""

THINGS_M = 110.0
"""So do its cars and people, as others: a thing's window on the camera is this long."""

BEHIND_M = 25.0
"""How much of a period lies behind the camera."""


@dataclass(frozen=True)
class Profile:
    """Cross-section of the street, m; the same on both sides but for the pavements."""

    lanes: int
    """Per direction."""

    lane_m: float
    cycle_m: float
    """Width of a cycle strip, 0 for none."""

    parking_m: float
    """Width of a parking strip, 0 for none."""

    verge_m: tuple[float, float]
    """Grass between kerb and pavement, left and right."""

    pavement_m: tuple[float, float]
    garden_m: tuple[float, float]
    """Between pavement and houses."""

    @property
    def kerb_x(self) -> float:
        """Half the road's width."""
        return self.lanes * self.lane_m + self.cycle_m + self.parking_m

    def walk(self, side: int) -> tuple[float, float]:
        """|x| where the pavement of a side (-1 or 1) starts and ends."""
        start = self.kerb_x + self.verge_m[side > 0]
        return start, start + self.pavement_m[side > 0]

    def front(self, side: int) -> float:
        """|x| of the house fronts."""
        return self.walk(side)[1] + self.garden_m[side > 0]


@dataclass(frozen=True)
class Fixed:
    """Something that stands still; `kind` says what the other numbers mean."""

    kind: str
    """house, gable, tree, bush, hedge, lamp or sign."""

    class_id: int
    x: float
    z: float
    size: tuple[float, float, float]
    """Width along the road, height, depth away from it, m."""

    style: int
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class Mover:
    """A car, person or cyclist, whose place is a function of time alone."""

    class_id: int
    x: float
    z: float
    speed: float
    """Along the road, m/s."""

    heading: float
    """0 looks along the road, pi against it."""

    with_camera: bool = False
    """Keeps its distance to the camera (traffic in the same lane)."""

    sway_m: float = 0.0
    phase: float = 0.0
    cross_m: float = 0.0
    """Walks to and fro across the road over this |x|, at `speed`."""

    period_m: float = THINGS_M

    @property
    def surfaces(self) -> int:
        """Surfaces it is painted with."""
        return 2 if self.class_id == CAR else 1

    def at(self, time_s: float, camera_z: float) -> tuple[float, float, float, int, float]:
        """(x, z from the camera, heading, which turn of the period, distance gone)."""
        gone = self.speed * time_s
        if self.cross_m:
            lap = 4 * self.cross_m
            along = (gone + self.phase * lap) % lap
            x, heading = ((along - self.cross_m, math.pi / 2) if along < lap / 2
                          else (3 * self.cross_m - along, -math.pi / 2))
            return x, self.z, heading, 0, along
        z = self.z + self.sway_m * math.sin(0.3 * time_s + self.phase)
        if not self.with_camera:
            z += gone - camera_z
        turns = math.floor((z + BEHIND_M) / self.period_m)
        return self.x, z - turns * self.period_m, self.heading, turns, abs(gone) + self.phase


@dataclass(frozen=True)
class Layout:
    """A street with all that is in it."""

    profile: Profile
    fixed: tuple[Fixed, ...]
    movers: tuple[Mover, ...]
    camera_x: float
    camera_speed: float
    zebra_z: float | None
    on_pavement: bool


def make_layout(rng: np.random.Generator) -> Layout:
    """Draws a street, its traffic and where the camera goes in it."""
    profile = Profile(
        lanes=int(rng.choice([1, 2], p=[0.75, 0.25])), lane_m=rng.uniform(2.9, 3.5),
        cycle_m=float(rng.choice([0.0, 1.5])), parking_m=float(rng.choice([0.0, 2.2])),
        verge_m=_pair(rng, 0.3, 0.8, 2.2), pavement_m=_pair(rng, 1.0, 2.0, 4.5),
        garden_m=_pair(rng, 0.35, 1.5, 5.0))
    mode = str(rng.choice(['drive', 'queue', 'crossing', 'pavement'], p=[0.6, 0.1, 0.15, 0.15]))
    speed = rng.uniform(3, 13) if mode == 'drive' else 0.0
    lane = int(rng.integers(profile.lanes))
    camera_x = profile.lane_m * (lane + 0.5) + rng.uniform(-.3, .3)
    if mode == 'pavement':
        camera_x = profile.kerb_x + rng.uniform(-0.2, 0.6)
    fixed = [thing for side in (-1, 1) for thing in (*_houses(rng, profile, side),
                                                    *_furniture(rng, profile, side))]
    crowd = rng.choice([0.6, 1.2, 1.9])
    movers = [*_cars(rng, profile, mode, speed, camera_x, crowd),
              *_people(rng, profile, mode, crowd), *_cyclists(rng, profile, mode, crowd)]
    zebra = None
    if mode == 'crossing':
        zebra = 7.5
    elif rng.random() < 0.3:
        zebra = rng.uniform(0, 40)
    room = SURFACES - len(BACKGROUND) - sum(mover.surfaces for mover in movers)
    return Layout(profile, _thin(fixed, room), tuple(movers), camera_x, speed, zebra,
                  mode == 'pavement')


def _thin(fixed: list[Fixed], room: int) -> tuple[Fixed, ...]:
    """Leaves out plants, evenly along the street, where there are more things than room."""
    plants = [thing for thing in fixed if thing.class_id == VEGETATION]
    surplus = max(0, len(fixed) - room)
    out = {id(plants[i * len(plants) // surplus]) for i in range(surplus)}
    return tuple(thing for thing in fixed if id(thing) not in out)


def _pair(rng: np.random.Generator, chance: float, low: float, high: float,
          ) -> tuple[float, float]:
    left, right = rng.uniform(low, high, 2) * (rng.random(2) < chance)
    return float(left), float(right)


def _houses(rng: np.random.Generator, profile: Profile, side: int) -> list[Fixed]:
    fixed: list[Fixed] = []
    x, z = side * profile.front(side), 0.0
    before: tuple[float, float] | None = None
    fronts = facades()
    gap_chance = rng.choice([0.05, 0.3, 0.6])
    hues = np.array([[1.0, .96, .9], [.98, .78, .66], [.86, .66, .5], [.9, .9, .92],
                     [.98, .93, .74], [.72, .74, .76], [.78, .58, .52], [.8, .88, .84]])
    while z < HOUSES_M - 8:
        if rng.random() < gap_chance:
            width = min(rng.uniform(4, 14), HOUSES_M - z)
            fixed.extend(Fixed('tree' if rng.random() < 0.5 else 'bush', VEGETATION,
                               x + side * rng.uniform(0.5, 4), float(at), _crown_size(rng, 1.0),
                               int(rng.integers(12)), _green(rng))
                         for at in np.arange(z + 2, z + width - 1, 4.5))
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
        fixed.append(Fixed('house', BUILDING, x + side * back, z, size, style,
                           (tint[0], tint[1], tint[2])))
        # Behind a neighbour as high and as far forward the end wall cannot be seen.
        if roof in (1, 2) or before is None or before[0] < height or before[1] > back:
            fixed.append(Fixed('gable', BUILDING, x + side * back, z, size, roof,
                               (tint[0] * .9, tint[1] * .9, tint[2] * .9)))
        before = height, back
        z += width
    if profile.garden_m[side > 0] and rng.random() < 0.6:
        hedge_x = side * (profile.walk(side)[1] + 0.3)
        high = rng.uniform(0.8, 1.6)
        fixed.extend(Fixed('hedge', VEGETATION, hedge_x, float(at),
                           (rng.uniform(7, 10), high, 0.8), 0, _green(rng))
                     for at in np.arange(0, HOUSES_M, 11) if rng.random() < 0.8)
    return fixed


def _crown_size(rng: np.random.Generator, scale: float) -> tuple[float, float, float]:
    return (rng.uniform(2.8, 5.5) * scale, rng.uniform(4.5, 9.0) * scale, 0.0)


def _green(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = _GREENS[(0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[rng.integers(10)]]
    bright = rng.uniform(0.8, 1.15)
    return red * bright, green * bright, blue * bright


_GREENS = ((0.62, 0.72, 0.5), (0.75, 0.85, 0.45), (0.5, 0.62, 0.48), (1.0, 0.75, 0.4))
"""Tints of leaves: three greens and, less often, autumn."""


def _furniture(rng: np.random.Generator, profile: Profile, side: int) -> list[Fixed]:
    fixed: list[Fixed] = []
    edge = side * (profile.kerb_x + max(0.5, profile.verge_m[side > 0] / 2))
    if rng.random() < 0.6:
        step = rng.uniform(9, 20)
        fixed.extend(Fixed('tree', VEGETATION, edge, float(z), _crown_size(rng, 0.85),
                           int(rng.integers(12)), _green(rng))
                     for z in np.arange(rng.uniform(0, step), HOUSES_M, step)
                     if rng.random() < 0.85)
    shape = int(rng.integers(2))
    step = rng.uniform(18, 28)
    fixed.extend(Fixed('lamp', POLE, edge, float(z), (0, rng.uniform(5.5, 7.5), 0), shape,
                       (1, 1, 1))
                 for z in np.arange(rng.uniform(0, step) + 1.3, HOUSES_M, step))
    fixed.extend(Fixed('sign', POLE, edge + side * 0.25, float(z),
                       (0, rng.uniform(2.4, 3.0), 0), int(rng.integers(5)), (1, 1, 1))
                 for z in rng.uniform(0, HOUSES_M, rng.integers(3, 9)))
    return fixed


def _cars(rng: np.random.Generator, profile: Profile, mode: str, speed: float, camera_x: float,
          crowd: float) -> list[Mover]:
    movers = []
    if profile.parking_m:
        for side in (-1, 1):
            filled = rng.uniform(0.1, 0.75)
            x = side * (profile.kerb_x - profile.parking_m / 2)
            for z in np.arange(0, THINGS_M - 5, 6.2):
                near_zebra = mode == 'crossing' and z < 17
                if rng.random() < filled and not near_zebra:
                    heading = 0.0 if (side > 0) != (rng.random() < .1) else math.pi
                    movers.append(Mover(CAR, x + rng.uniform(-.12, .12),
                                        z + rng.uniform(-.4, .4), 0.0, heading))
    clear = 19.0 if mode == 'crossing' else 9.0
    for lane in range(profile.lanes):
        x = profile.lane_m * (lane + 0.5)
        mine = abs(x - camera_x) < 1.6
        count = rng.poisson(0.9 * crowd if mine else 1.4 * crowd)
        pace = speed if mine else max(0.0, speed + rng.uniform(-3, 4))
        if mode == 'pavement':
            pace = rng.uniform(0, 10)
        gap = clear + rng.uniform(0, 8) if mine else rng.uniform(0, 30)
        if mode == 'crossing':
            pace, gap = 0.0, clear + rng.uniform(0, 4)
        for _ in range(min(count, 7)):
            movers.append(Mover(CAR, x + rng.uniform(-.2, .2), gap, pace, 0.0, mine,
                                rng.uniform(0, 1.2) if speed else 0.0, rng.uniform(0, 6)))
            gap += rng.uniform(7.5, 24)
            if gap > THINGS_M - BEHIND_M - 8:
                break
        pace = 0.0 if mode == 'crossing' else -rng.uniform(4, 13)
        z = clear if mode == 'crossing' else rng.uniform(0, 25)
        for _ in range(min(rng.poisson(1.8 * crowd), 8)):
            movers.append(Mover(CAR, -x + rng.uniform(-.2, .2), z, pace, math.pi))
            z += rng.uniform(7.5, 30)
            if z > THINGS_M - 8 - (BEHIND_M if mode == 'crossing' else 0):
                break
    return movers


def _people(rng: np.random.Generator, profile: Profile, mode: str, crowd: float) -> list[Mover]:
    movers: list[Mover] = []
    for side in (-1, 1):
        if not profile.pavement_m[side > 0]:
            continue
        count = min(rng.poisson(9 * crowd), 26)
        start, end = profile.walk(side)
        # Everyone keeps a strip of the pavement, so that none walks through another.
        strips = rng.permutation(np.linspace(start + 0.45, end - 0.35, count))
        for i in range(count):
            stands = rng.random() < 0.15
            ahead = rng.random() < 0.5
            speed = 0.0 if stands else rng.uniform(0.8, 1.7) * (1 if ahead else -1)
            heading = rng.uniform(-math.pi, math.pi) if stands else (0.0 if ahead else math.pi)
            z = rng.uniform(0, THINGS_M)
            if i and rng.random() < 0.3:  # a couple
                last = movers[-1]
                z, speed, heading = last.z + rng.uniform(-.4, .6), last.speed, last.heading
            movers.append(Mover(PERSON, side * float(strips[i]), z, speed, heading,
                                phase=rng.uniform(0, 3)))
    if mode == 'crossing':
        reach = profile.kerb_x + 1.2
        movers.extend(Mover(PERSON, 0.0, 7.6 + i * 0.75 + rng.uniform(-.2, .2),
                            rng.uniform(0.8, 1.6), 0.0, phase=rng.random(), cross_m=reach)
                      for i in range(int(rng.integers(2, 6))))
    return movers


def _cyclists(rng: np.random.Generator, profile: Profile, mode: str, crowd: float,
              ) -> list[Mover]:
    movers = []
    wide = profile.cycle_m or 0.9
    x = profile.lanes * profile.lane_m + (wide / 2 if profile.cycle_m else -0.45)
    for side in (-1, 1):
        for _ in range(min(rng.poisson(1.4 * crowd), 5)):
            if mode == 'crossing':
                continue
            pace = side * rng.uniform(3.2, 6.5)
            movers.append(Mover(CYCLIST, side * (x + rng.uniform(-.25, .25)),
                                rng.uniform(0, THINGS_M), pace, 0.0 if side > 0 else math.pi,
                                phase=rng.uniform(0, 3)))
    return movers
