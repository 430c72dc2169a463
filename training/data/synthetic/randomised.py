# SPDX-License-Identifier: Apache-2.0
"""Domain randomisation of the city: materials, light, plants, clutter and sensors.

A network that is trained on one rendering style fails on photographs. Here everything that does
not define a class varies more than in reality, so that the network learns from shape and context
(Tobin et al., "Domain randomization", 2017).
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID

from .camera import Array
from .labels import BUILDING, CYCLIST, POLE, VEGETATION
from .layout import HOUSES_M, Fixed
from .light import Light
from .optics import Optics
from .people import Look
from .profile import Profile
from .randomised_textures import BARE, FACADES, LEAFY, LEAVES, facade
from .textures import BAY_M, FLOOR_M, PLAIN_CROWNS, PLAIN_FACADES, Image, smooth_noise
from .traffic import THINGS_M, Mover


def randomise_light(rng: np.random.Generator, light: Light) -> Light:
    """Return a random variation of a light: low sun, hard shadows, bright sky or night."""
    ambient = light.ambient * rng.uniform(0.4, 1.1) * rng.uniform(0.92, 1.08, 3)
    sun = light.sun * rng.uniform(0.4, 1.7)
    sky = rng.uniform(0.75, 1.5)
    dark = 1.0
    if light.lamps and rng.random() < 0.3:  # night
        dark = rng.uniform(0.1, 0.4)
    return replace(
        light,
        ambient=ambient * (0.4 + 0.6 * dark),
        sun=sun * dark,
        shadow=float(np.clip(light.shadow * rng.uniform(0.6, 1.7), 0, 0.85)),
        sky_top=np.minimum(light.sky_top * sky * dark, 255),
        sky_low=np.minimum(light.sky_low * sky * dark, 255),
        cloud=np.minimum(light.cloud * sky * dark, 255),
        haze=light.haze * dark,
        haze_per_m=light.haze_per_m * rng.uniform(0, 1.2),
    )


def randomise_look(rng: np.random.Generator, look: Look) -> Look:
    """Return a random variation of a person: dark or faded clothes, bulk, shading."""
    cloth = rng.uniform(0.4, 1.1, (4, 1)) * rng.uniform(0.85, 1.15, (4, 3))
    if rng.random() < 0.45:
        cloth[:2] *= 0.35
    return replace(
        look,
        broad=look.broad * rng.uniform(0.9, 1.3),
        hair=look.hair * rng.uniform(0.5, 1.6),
        top=np.minimum(look.top * cloth[0], 255),
        legs=np.minimum(look.legs * cloth[1], 255),
        shoes=np.minimum(look.shoes * cloth[2] * 1.5, 255),
        bicycle=look.bicycle * cloth[3] * (0.3 if rng.random() < 0.4 else 1.0),
        shade=float(rng.choice([-1, 1]) * rng.uniform(0, 0.6)),
    )


def more_cyclists(rng: np.random.Generator, profile: Profile) -> list[Mover]:
    """Draw cyclists anywhere on the road, most of them seen from behind, single or in groups."""
    movers: list[Mover] = []
    half = profile.lanes * profile.lane_m
    for _ in range(int(rng.poisson(1.8))):
        along = 1 if rng.random() < 0.7 else -1
        x, z = along * rng.uniform(0.3, half), rng.uniform(0, THINGS_M)
        pace = along * rng.uniform(2.5, 8.0)
        movers += [
            Mover(
                CYCLIST,
                x + rng.uniform(-0.6, 0.6) * (number > 0),
                z + number * rng.uniform(0.8, 3.0),
                pace,
                0.0 if along > 0 else math.pi,
                phase=rng.uniform(0, 3),
            )
            for number in range(1 + int(rng.random() < 0.4) + int(rng.random() < 0.15))
        ]
    return movers


def furnish_randomly(rng: np.random.Generator, profile: Profile) -> list[Fixed]:
    """Draw the objects beside the street, on both sides."""
    season = int(rng.choice(3, p=[0.4, 0.4, 0.2]))  # trees have leaves, have none, or are mixed
    return [
        thing
        for side in (-1, 1)
        for thing in (
            *_side(rng, profile, side, season),
            *_street_furniture(rng, profile, side, season),
        )
    ]


def _side(rng: np.random.Generator, profile: Profile, side: int, season: int) -> list[Fixed]:
    """Draw houses, parks, hedges, walls and fences along one side."""
    fixed: list[Fixed] = []
    x, z = side * profile.front(side), 0.0
    kinds = np.array([0.95, 0.05, 0, 0])  # houses, parks, hedges, walls
    if rng.random() < 0.85:
        kinds = rng.dirichlet([2.5, 2.5, 0.7, 0.7])
    hues = rng.uniform(0.5, 1.15, (5, 1)) * rng.uniform(0.8, 1.1, (5, 3))
    while z < HOUSES_M - 8:
        kind = rng.choice(4, p=kinds)
        if kind == 0:
            style = int(rng.integers(FACADES))
            floors, bays, _ = facade(style)
            width = bays * BAY_M * rng.uniform(0.7, 1.6)
            if z + width > HOUSES_M:
                break
            back = rng.uniform(0, 2.5) if rng.random() < 0.4 else 0.0
            tint = tuple((hues[rng.integers(5)] * rng.uniform(0.8, 1.2)).tolist())
            size = (width, floors * FLOOR_M * rng.uniform(0.8, 1.4), rng.uniform(7, 14))
            fixed += [
                Fixed('house', BUILDING, x + side * back, z, size, style, tint),
                Fixed('gable', BUILDING, x + side * back, z, size, int(rng.integers(4)), tint),
            ]
            z += width
            continue
        width = min(rng.uniform(6, 45), HOUSES_M - z)
        if kind == 1:  # a park: trees in several rows
            rows = int(rng.integers(1, 4))
            step = rng.uniform(2.2, 6)
            for row in range(rows):
                for at in np.arange(z, z + width, step * (1 + 0.3 * row)):
                    fixed.append(
                        _tree(
                            rng,
                            x + side * (rng.uniform(0, 3) + 4 * row),
                            float(at + rng.uniform(-0.8, 0.8)),
                            rng.uniform(0.7, 1.9),
                            season,
                        )
                    )
            if rng.random() < 0.5:
                fixed.append(_wall(rng, x, z, width, 'barrier'))
        elif kind == 2:
            fixed.append(
                Fixed(
                    'hedge',
                    VEGETATION,
                    x,
                    z,
                    (width, rng.uniform(0.7, 4.5), 0.8),
                    int(rng.integers(LEAVES)),
                    _tint(rng),
                )
            )
        else:
            fixed.append(_wall(rng, x, z, width, 'house'))
            if rng.random() < 0.6:
                fixed += [
                    _tree(
                        rng,
                        x + side * rng.uniform(1.5, 4),
                        float(at),
                        rng.uniform(0.8, 1.7),
                        season,
                    )
                    for at in np.arange(z + 2, z + width, rng.uniform(3, 9))
                ]
        z += width
    return fixed


def _wall(rng: np.random.Generator, x: float, z: float, width: float, kind: str) -> Fixed:
    """Return a low wall or, for `barrier`, a fence, which belongs to no class."""
    style = int(rng.integers(PLAIN_FACADES, FACADES))
    high = rng.uniform(0.7, 2.6)
    fence = kind == 'barrier' and rng.random() < 0.6
    return Fixed(
        'fence' if fence else 'house',
        VOID_ID if fence else BUILDING,
        x,
        z,
        (width, high, 0.3),
        style,
        _grey(rng),
    )


def _grey(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = (rng.uniform(0.3, 1.1) * rng.uniform(0.85, 1.1, 3)).tolist()
    return red, green, blue


def _tint(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = (rng.uniform(0.35, 1.2) * rng.uniform(0.85, 1.15, 3)).tolist()
    return red, green, blue


def _tree(rng: np.random.Generator, x: float, z: float, scale: float, season: int) -> Fixed:
    bare = season == 1 or (season == 2 and rng.random() < 0.5)
    wide, high = rng.uniform(3, 6.5) * scale, rng.uniform(5, 10) * scale
    if bare:
        style = PLAIN_CROWNS + LEAFY + int(rng.integers(BARE))
        return Fixed('bare', VEGETATION, x, z, (max(wide, 0.7 * high), high, 0), style, _tint(rng))
    style = int(rng.integers(PLAIN_CROWNS + LEAFY))
    kind = 'tree' if rng.random() < 0.8 else 'bush'
    return Fixed(kind, VEGETATION, x, z, (wide * 1.3, high, 0), style, _tint(rng))


def _street_furniture(
    rng: np.random.Generator, profile: Profile, side: int, season: int
) -> list[Fixed]:
    """Draw trees, lamps, signs, traffic lights, posts and objects of no class at the kerb."""
    fixed: list[Fixed] = []
    edge = side * (profile.kerb_x + max(0.5, profile.verge_m[side > 0] / 2))
    if rng.random() < 0.45:
        step = rng.uniform(7, 20)
        fixed += [
            _tree(rng, edge, float(z), rng.uniform(0.6, 1.2), season)
            for z in np.arange(rng.uniform(0, step), HOUSES_M, step)
            if rng.random() < 0.85
        ]

    def row(
        kind: str, class_id: int, low: float, high: float, height: tuple[float, float], styles: int
    ) -> None:
        step, at = rng.uniform(low, high), edge + side * rng.uniform(-0.2, 0.5)
        fixed.extend(
            Fixed(
                kind,
                class_id,
                at,
                float(z),
                (0, rng.uniform(*height), 0),
                int(rng.integers(styles)),
                _grey(rng),
            )
            for z in np.arange(rng.uniform(0, step), HOUSES_M, step)
        )

    if rng.random() < 0.85:
        row('lamp', POLE, 14, 34, (4, 9), 2)
    if rng.random() < 0.7:
        row('sign', POLE, 12, 60, (2.0, 3.4), 5)
    if rng.random() < 0.6:
        row('lights', POLE, 15, 60, (2.6, 4.2), 3)
    if rng.random() < 0.35:
        row('post', POLE, 1.5, 6, (0.7, 1.2), 1)
    if rng.random() < 0.5:
        row('post', POLE, 15, 50, (3, 9), 1)
    for _ in range(int(rng.integers(0, 9))):
        where = side * rng.uniform(
            profile.kerb_x + 0.3, max(profile.front(side), profile.kerb_x + 0.8)
        )
        fixed.append(
            Fixed(
                'box',
                VOID_ID,
                where,
                float(rng.uniform(0, HOUSES_M)),
                (rng.uniform(0.3, 1.6), rng.uniform(0.4, 2.2), 0),
                int(rng.integers(PLAIN_FACADES, FACADES)),
                _grey(rng),
            )
        )
    return fixed


def randomise_optics(rng: np.random.Generator, optics: Optics) -> Optics:
    """Return a random variation of a camera: lens, mounting, contrast, colours, noise, blur."""
    gamma = math.exp(rng.uniform(-0.3, 0.35))
    white = np.exp(rng.normal(0, 0.06, 3))
    level = np.linspace(0, 1, 256)[:, None]
    tone = level**gamma * white
    bend = rng.uniform(-0.25, 0.6)  # an S-shaped curve: deep shadows and clipped highlights
    tone = np.clip(tone, 0, 1)
    tone = (1 - bend) * tone + bend * (3 * tone**2 - 2 * tone**3)
    low = rng.uniform(0, 0.08) if rng.random() < 0.4 else 0.0
    curve = np.clip((low + (1 - low) * tone) * 255, 0, 255).astype(np.uint8)[:, None]
    return replace(
        optics,
        focal=optics.focal * rng.uniform(0.75, 1.6),
        height_m=optics.height_m * rng.uniform(0.85, 1.5),
        pitch=optics.pitch + rng.normal(0, 0.035),
        yaw=optics.yaw + rng.normal(0, 0.12) * (rng.random() < 0.35),
        curve=curve,
        noise=rng.uniform(0.02, 0.35) * rng.random(),
        blur=rng.uniform(0.2, 1.4) ** 1.5,
    )


def expose(pixels: npt.NDArray[np.uint8], target: float) -> None:
    """Scale the colours of (H, W, 4) pixels in place so that the central part has this mean.

    This models automatic exposure: the sky above a dark street is clipped.
    """
    height = len(pixels)
    part = pixels[height // 3 :, :, :3]
    gain = float(np.clip(target / max(float(part.mean()), 1.0), 0.4, 4.0))
    table = np.empty((256, 1, 4), np.uint8)
    table[:, 0, :3] = np.clip(np.arange(256) * gain, 0, 255)[:, None]
    table[:, 0, 3] = np.arange(256)
    pixels[:] = cv2.LUT(pixels, table)


@dataclass(frozen=True)
class Finish:
    """Texture, shading and exposure that are applied to the painted image."""

    gains: npt.NDArray[np.float32]
    """(256, K) strength of each noise on each surface."""

    tints: npt.NDArray[np.float32]
    """(256, 3) colour factors of each surface."""

    fields: npt.NDArray[np.float32]
    """(K, h, w) noises around 0."""

    brightness: float
    """Target mean of the exposure, 0 to 255; see `expose`."""

    @classmethod
    def draw(cls, rng: np.random.Generator, size: tuple[int, int]) -> 'Finish':
        """Draw four noises, from grains to large blobs, and their strength on each surface."""
        height, width = size
        stack = []
        for cell in (2, 6, 24, 96):
            noise = smooth_noise(rng, (height, width), min(cell, height), 2)
            if rng.random() < 0.4:  # streaks
                streak = cv2.blur(noise, (1, 9) if rng.random() < 0.5 else (9, 1))
                noise = streak / max(float(streak.std()), 0.05) * 0.4
            stack.append(noise)
        gains = rng.gamma(0.6, 0.14, (256, 4)).clip(0, 0.4)
        gains[:6] *= 0.6
        tints = np.exp(rng.normal(0, 0.12, (256, 1)) + rng.normal(0, 0.04, (256, 3)))
        return cls(
            gains.astype(np.float32),
            tints.astype(np.float32),
            np.array(stack),
            rng.uniform(45, 130),
        )

    def apply(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Change the colours of (H, W, 4) pixels in place."""
        surface = pixels[..., 3]
        factor = np.ones(surface.shape, np.float32)
        for gain, noise in zip(self.gains.T, self.fields, strict=True):
            factor += cv2.LUT(surface, np.ascontiguousarray(gain)) * noise
        for channel in range(3):
            tint = cv2.LUT(surface, np.ascontiguousarray(self.tints[:, channel]))
            pixels[..., channel] = np.clip(pixels[..., channel] * (factor * tint), 0, 255)
        expose(pixels, self.brightness)


def sensor(rng: np.random.Generator, image: Image) -> Image:
    """Add sharpening, colour loss, glare and JPEG artefacts, each to some images."""
    if rng.random() < 0.35:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2))
        sharp = rng.uniform(0.3, 1.5)
        image = cv2.addWeighted(image, 1 + sharp, soft, -sharp, 0)
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = rng.uniform(0.1, 1.5)
        image = cv2.addWeighted(image, keep, grey, 1 - keep, 0)
    if rng.random() < 0.15:
        height, width = image.shape[:2]
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.6)
        grid = np.hypot(np.arange(width)[None] - x, np.arange(height)[:, None] - y)
        glare = rng.uniform(30, 140) * np.exp(-grid / (width * rng.uniform(0.05, 0.4)))
        image = cv2.add(image, np.repeat(glare[..., None], 3, 2).astype(np.uint8))
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))]
        image = np.asarray(
            cv2.imdecode(cv2.imencode('.jpg', image, quality)[1], cv2.IMREAD_COLOR), np.uint8
        )
    return image


def ground_colors(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return colours of asphalt, pavement and grass, (3,) each; often nearly the same grey."""
    asphalt = rng.uniform(45, 150) * rng.uniform(0.92, 1.08, 3)
    stone = (
        asphalt * rng.uniform(0.8, 1.3)
        if rng.random() < 0.5
        else rng.uniform(60, 200) * rng.uniform(0.85, 1.1, 3)
    )
    grass = np.array([[92, 122, 58], [120, 115, 70], [70, 85, 50], [105, 90, 65]])[
        rng.integers(4)
    ] * rng.uniform(0.5, 1.3)
    return asphalt, stone, grass
