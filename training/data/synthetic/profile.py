# SPDX-License-Identifier: Apache-2.0
"""Cross-section of a street."""

from dataclasses import dataclass

import numpy as np

BEHIND_M = 25.0
"""Length of a period that lies behind the camera."""


@dataclass(frozen=True)
class Profile:
    """Cross-section of the street, m; both sides differ in the pavements only."""

    lanes: int
    """Number of lanes per direction."""

    lane_m: float
    cycle_m: float
    """Width of a cycle strip, 0 for none."""

    parking_m: float
    """Width of a parking strip, 0 for none."""

    verge_m: tuple[float, float]
    """Width of the grass between kerb and pavement, left and right."""

    pavement_m: tuple[float, float]
    garden_m: tuple[float, float]
    """Width of the gardens between pavement and houses, left and right."""

    @property
    def kerb_x(self) -> float:
        """Half the width of the road."""
        return self.lanes * self.lane_m + self.cycle_m + self.parking_m

    def walk(self, side: int) -> tuple[float, float]:
        """Return the |x| at which the pavement of a side (-1 or 1) starts and ends."""
        start = self.kerb_x + self.verge_m[side > 0]
        return start, start + self.pavement_m[side > 0]

    def front(self, side: int) -> float:
        """Return the |x| of the house fronts of a side."""
        return self.walk(side)[1] + self.garden_m[side > 0]


def make_profile(rng: np.random.Generator) -> Profile:
    """Draw random lanes, strips, pavements and gardens."""
    return Profile(
        lanes=int(rng.choice([1, 2], p=[0.75, 0.25])),
        lane_m=rng.uniform(2.9, 3.5),
        cycle_m=float(rng.choice([0.0, 1.5])),
        parking_m=float(rng.choice([0.0, 2.2])),
        verge_m=_pair(rng, 0.3, 0.8, 2.2),
        pavement_m=_pair(rng, 1.0, 2.0, 4.5),
        garden_m=_pair(rng, 0.35, 1.5, 5.0),
    )


def _pair(rng: np.random.Generator, chance: float, low: float, high: float) -> tuple[float, float]:
    left, right = rng.uniform(low, high, 2) * (rng.random(2) < chance)
    return float(left), float(right)
