# SPDX-License-Identifier: Apache-2.0
"""Traffic: number and motion of the cars, people and cyclists of a street."""

import math
from dataclasses import dataclass

import numpy as np

from .labels import CAR, CYCLIST, PERSON
from .profile import BEHIND_M, Profile

THINGS_M = 110.0
"""Length after which cars and people reappear as others: their window around the camera."""


@dataclass(frozen=True)
class Mover:
    """Car, person or cyclist whose position depends on time only."""

    class_id: int
    x: float
    z: float
    speed: float
    """Speed along the road, m/s."""

    heading: float
    """Direction: 0 along the road, pi against it, radians."""

    with_camera: bool = False
    """Whether it keeps its distance to the camera (traffic in the same lane)."""

    sway_m: float = 0.0
    phase: float = 0.0
    cross_m: float = 0.0
    """|x| up to which it walks back and forth across the road at `speed`, m."""

    period_m: float = THINGS_M

    @property
    def surfaces(self) -> int:
        """Number of surfaces it is painted with."""
        return 2 if self.class_id == CAR else 1

    def at(self, time_s: float, camera_z: float) -> tuple[float, float, float, int, float]:
        """Return (x, z from the camera, heading, number of the period, distance moved)."""
        gone = self.speed * time_s
        if self.cross_m:
            lap = 4 * self.cross_m
            along = (gone + self.phase * lap) % lap
            x, heading = (
                (along - self.cross_m, math.pi / 2)
                if along < lap / 2
                else (3 * self.cross_m - along, -math.pi / 2)
            )
            return x, self.z, heading, 0, along
        z = self.z + self.sway_m * math.sin(0.3 * time_s + self.phase)
        if not self.with_camera:
            z += gone - camera_z
        turns = math.floor((z + BEHIND_M) / self.period_m)
        return self.x, z - turns * self.period_m, self.heading, turns, abs(gone) + self.phase


def make_traffic(
    rng: np.random.Generator, profile: Profile, mode: str, speed: float, camera_x: float
) -> list[Mover]:
    """Draw sparse, usual or crowded traffic around a camera of this position and speed."""
    crowd = rng.choice([0.6, 1.2, 1.9])
    return [
        *_cars(rng, profile, mode, speed, camera_x, crowd),
        *_people(rng, profile, mode, crowd),
        *_cyclists(rng, profile, mode, crowd),
    ]


def _cars(
    rng: np.random.Generator,
    profile: Profile,
    mode: str,
    speed: float,
    camera_x: float,
    crowd: float,
) -> list[Mover]:
    movers = []
    if profile.parking_m:
        for side in (-1, 1):
            filled = rng.uniform(0.1, 0.75)
            x = side * (profile.kerb_x - profile.parking_m / 2)
            for z in np.arange(0, THINGS_M - 5, 6.2):
                in_the_way = (mode == 'crossing' and z < 17) or (
                    mode == 'pavement' and side > 0 and z < 6
                )
                if rng.random() < filled and not in_the_way:
                    heading = 0.0 if (side > 0) != (rng.random() < 0.1) else math.pi
                    movers.append(
                        Mover(
                            CAR,
                            x + rng.uniform(-0.12, 0.12),
                            z + rng.uniform(-0.4, 0.4),
                            0.0,
                            heading,
                        )
                    )
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
            movers.append(
                Mover(
                    CAR,
                    x + rng.uniform(-0.2, 0.2),
                    gap,
                    pace,
                    0.0,
                    mine,
                    rng.uniform(0, 1.2) if speed else 0.0,
                    rng.uniform(0, 6),
                )
            )
            gap += rng.uniform(7.5, 24)
            if gap > THINGS_M - BEHIND_M - 8:
                break
        pace = 0.0 if mode == 'crossing' else -rng.uniform(4, 13)
        z = clear if mode == 'crossing' else rng.uniform(0, 25)
        for _ in range(min(rng.poisson(1.8 * crowd), 8)):
            movers.append(Mover(CAR, -x + rng.uniform(-0.2, 0.2), z, pace, math.pi))
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
        # Each person has a strip of the pavement, so that none walks through another.
        strips = rng.permutation(np.linspace(start + 0.45, end - 0.35, count))
        for i in range(count):
            stands = rng.random() < 0.15
            ahead = rng.random() < 0.5
            speed = 0.0 if stands else rng.uniform(0.8, 1.7) * (1 if ahead else -1)
            heading = rng.uniform(-math.pi, math.pi) if stands else (0.0 if ahead else math.pi)
            z = rng.uniform(0, THINGS_M)
            if i and rng.random() < 0.3:  # a couple
                last = movers[-1]
                z, speed, heading = last.z + rng.uniform(-0.4, 0.6), last.speed, last.heading
            movers.append(
                Mover(PERSON, side * float(strips[i]), z, speed, heading, phase=rng.uniform(0, 3))
            )
    if mode == 'crossing':
        reach = profile.kerb_x + 1.2
        movers.extend(
            Mover(
                PERSON,
                0.0,
                7.6 + i * 0.75 + rng.uniform(-0.2, 0.2),
                rng.uniform(0.8, 1.6),
                0.0,
                phase=rng.random(),
                cross_m=reach,
            )
            for i in range(int(rng.integers(2, 6)))
        )
    return movers


def _cyclists(rng: np.random.Generator, profile: Profile, mode: str, crowd: float) -> list[Mover]:
    movers = []
    wide = profile.cycle_m or 0.9
    x = profile.lanes * profile.lane_m + (wide / 2 if profile.cycle_m else -0.45)
    for side in (-1, 1):
        for _ in range(min(rng.poisson(2.4 * crowd), 7)):
            if mode == 'crossing':
                continue
            pace = side * rng.uniform(3.2, 6.5)
            movers.append(
                Mover(
                    CYCLIST,
                    side * (x + rng.uniform(-0.25, 0.25)),
                    rng.uniform(0, THINGS_M),
                    pace,
                    0.0 if side > 0 else math.pi,
                    phase=rng.uniform(0, 3),
                )
            )
    return movers
