# SPDX-License-Identifier: Apache-2.0
"""Weather and time of day: colours of light, sky and haze, and the direction of shadows."""

import math
from dataclasses import dataclass, replace

import numpy as np

from .camera import Array


@dataclass(frozen=True)
class Light:
    """Light of a street; colours are RGB, 0 to 255 for sky and haze, factors near 1 for light."""

    ambient: Array
    """(3,) light on every surface."""

    sun: Array
    """(3,) additional light on a surface that faces the sun; 0 under clouds."""

    sun_direction: Array
    """(3,) unit vector towards the sun, street axes."""

    shadow: float
    """Share of the light that a cast shadow removes, 0 to 1."""

    haze: Array
    """(3,) colour to which distant objects fade."""

    haze_per_m: float
    sky_top: Array
    sky_low: Array
    cloud: Array
    """(3,) colour of clouds."""

    cloud_amount: float
    wet: float
    """Wetness of the road, 0 dry to 1 soaked."""

    lamps: float
    """Brightness of lamps: 0 by day, 1 if headlights and windows are lit."""

    def shade(self, normals: Array) -> Array:
        """Return the light (N, 3) on surfaces with unit normals (N, 3), street axes."""
        facing = np.maximum(normals @ self.sun_direction, 0.0)
        sky = 0.85 + 0.15 * normals[:, 1]  # the sky lights roofs more than walls
        return self.ambient * sky[:, None] + self.sun * facing[:, None]

    def fade(self, depth_m: float) -> float:
        """Return the share of haze in the colour of an object at a depth."""
        return 1.0 - math.exp(-self.haze_per_m * max(depth_m, 0.0))


KINDS = ('clear', 'broken', 'overcast', 'rain', 'fog', 'dusk')
"""Kinds of weather; `broken` are clouds with gaps."""

SHARES = (0.27, 0.23, 0.2, 0.1, 0.08, 0.12)

TIMES_OF_DAY = ('any', 'day', 'night')
"""`any` is day or dusk, `day` is without dusk; `night` is in neither."""


def make_light(rng: np.random.Generator, dusk: bool = True) -> Light:
    """Draw a random weather.

    Args:
        rng: source of all choices.
        dusk: whether it may be dusk.
    """
    shares = np.array(SHARES) * [dusk or kind != 'dusk' for kind in KINDS]
    kind = rng.choice(KINDS, p=shares / shares.sum() if not dusk else SHARES)
    azimuth = rng.uniform(-math.pi, math.pi)
    elevation = rng.uniform(0.45, 1.15) if kind != 'dusk' else rng.uniform(0.2, 0.4)
    direction = np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        ]
    )
    warm = np.array([1.06, 1.0, 0.92]) if elevation < 0.7 else np.array([1.02, 1.0, 0.97])
    level = rng.uniform(0.85, 1.1)
    cool = np.array([0.96, 1.0, 1.05])
    blue = np.array([70, 120, 190]) + rng.uniform(-18, 18, 3)
    pale = np.array([190, 210, 228]) + rng.uniform(-12, 12, 3)
    grey = rng.uniform(165, 225) * np.array([0.98, 1.0, 1.02])
    if kind in ('clear', 'broken'):
        return Light(
            0.7 * level * cool,
            0.5 * level * warm,
            direction,
            rng.uniform(0.4, 0.55),
            pale,
            rng.uniform(0.0005, 0.003),
            blue,
            pale,
            np.array([240, 242, 245.0]),
            rng.uniform(0.0, 0.35) if kind == 'clear' else rng.uniform(0.45, 0.75),
            0.0,
            0.0,
        )
    if kind == 'dusk':
        low = np.array([225, 160, 110]) + rng.uniform(-20, 20, 3)
        top = np.array([60, 75, 120]) + rng.uniform(-15, 15, 3)
        dim = rng.uniform(0.45, 0.7)
        return Light(
            dim * np.array([0.92, 0.95, 1.1]),
            0.3 * dim * np.array([1.4, 1.0, 0.7]),
            direction,
            0.25,
            0.6 * low + 0.3 * top,
            rng.uniform(0.001, 0.004),
            top,
            low,
            low * 0.8,
            rng.uniform(0.2, 0.6),
            0.0,
            1.0,
        )
    flat = level * rng.uniform(0.72, 0.95) * cool
    fog = rng.uniform(0.012, 0.03) if kind == 'fog' else rng.uniform(0.001, 0.005)
    return Light(
        flat,
        np.zeros(3),
        direction,
        rng.uniform(0.25, 0.4),
        grey,
        fog,
        0.9 * grey,
        grey,
        0.8 * grey,
        0.0 if kind == 'fog' else rng.uniform(0.3, 0.9),
        1.0 if kind == 'rain' else rng.choice([0.0, 0.4]),
        1.0 if kind in ('rain', 'fog') and rng.random() < 0.6 else 0.0,
    )


def at_night(rng: np.random.Generator, light: Light) -> Light:
    """Return the same weather at night, under street lamps and headlights.

    Args:
        rng: source of the brightness.
        light: by day.
    """
    glow = np.array([30, 27, 26.0]) * rng.uniform(0.6, 1.4)
    return replace(
        light,
        ambient=rng.uniform(0.1, 0.22) * np.array([1.0, 0.92, 0.86]),
        sun=np.zeros(3),
        shadow=0.1,
        haze=glow,
        sky_top=0.3 * glow,
        sky_low=glow,
        cloud=0.8 * glow,
        lamps=1.0,
    )
