# SPDX-License-Identifier: Apache-2.0
"""Textures of all streets, made once per process from a fixed seed."""

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from .surfaces import GRASS_SURFACE, PAVEMENT_SURFACE, ROAD_SURFACE

Image = npt.NDArray[np.uint8]

FLOOR_M = 3.1
"""Height of one storey of a facade, m."""

BAY_M = 2.8
"""Width of one window bay of a facade, m."""

PX_M = 20
"""Facade texels per metre."""

PLAIN_FACADES, PLAIN_CROWNS = 32, 12
"""Numbers of textures of the plain city."""


def smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], cell: int, octaves: int = 3
) -> npt.NDArray[np.float32]:
    """Return tileable cloudy noise (h, w) in [-1, 1]; `cell` is the largest blob's side, px."""
    height, width = size
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        step = max(1, cell >> octave)
        coarse = rng.uniform(-1, 1, (max(1, height // step), max(1, width // step)))
        coarse = np.pad(coarse.astype(np.float32), 2, mode='wrap')
        scale = step * coarse.shape[1], step * coarse.shape[0]
        fine = cv2.resize(coarse, scale, interpolation=cv2.INTER_CUBIC)
        fine = fine[2 * step : 2 * step + height, 2 * step : 2 * step + width]
        total[: fine.shape[0], : fine.shape[1]] += fine / (1 << octave)
    return np.clip(total / 1.4, -1, 1)


def pyramid_of(image: Image) -> tuple[Image, ...]:
    """Return an image and its halved copies, down to 16 px."""
    levels = [image]
    while min(levels[-1].shape[:2]) > 16:
        half = levels[-1].shape[1] // 2, levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(levels)


def level_of(pyramid: tuple[Image, ...], texels_per_pixel: float) -> Image:
    """Return the level of a pyramid whose texels have about the size of a pixel."""
    level = math.floor(math.log2(max(texels_per_pixel, 1.0)) + 0.3)
    return pyramid[min(level, len(pyramid) - 1)]


@lru_cache(maxsize=1)
def facades() -> tuple[tuple[int, int, tuple[Image, ...]], ...]:
    """Return (floors, bays, pyramid of (h, w, 4)) of each house front; bright, to be tinted."""
    rng = np.random.default_rng(11)
    return tuple(
        _facade(rng, int(rng.integers(2, 7)), int(rng.integers(2, 7)))
        for _ in range(PLAIN_FACADES)
    )


def _facade(
    rng: np.random.Generator, floors: int, bays: int
) -> tuple[int, int, tuple[Image, ...]]:
    height, width = round(floors * FLOOR_M * PX_M), round(bays * BAY_M * PX_M)
    floor_px, bay_px = FLOOR_M * PX_M, BAY_M * PX_M
    wall = np.full((height, width, 3), rng.uniform(175, 215), np.float32)
    wall += 14 * smooth_noise(rng, (height, width), 32)[..., None]
    if rng.random() < 0.5:  # bricks
        for row in range(0, height, 5):
            wall[row] -= 22
            wall[row : row + 5, (row // 5 % 2) * 5 :: 10] -= 14
    wall += rng.normal(0, 5, (height, width, 1))
    front = np.clip(wall, 0, 255).astype(np.uint8)
    glass = np.array([60, 72, 88]) + rng.uniform(-20, 30, 3)
    frame = tuple(rng.choice([[235, 235, 235], [90, 70, 60], [200, 195, 180]]).tolist())
    half_w, half_h = rng.uniform(0.2, 0.42) * bay_px, rng.uniform(0.25, 0.38) * floor_px
    balcony = rng.random() < 0.25
    band = rng.random() < 0.4
    for floor in range(floors):
        middle = height - (floor + 0.5) * floor_px
        if floor == 0 and rng.random() < 0.6:
            _shop(rng, front, floor_px)
            continue
        if band:
            edge = int(middle + 0.5 * floor_px)
            front[edge - 3 : edge] = np.clip(front[edge - 3 : edge] * 0.75, 0, 255)
        door = int(rng.integers(bays)) if floor == 0 else -1
        for bay in range(bays):
            x, bottom = (bay + 0.5) * bay_px, middle + half_h
            if bay == door:
                rect(front, x - 11, middle - 8, x + 11, height, rng.uniform(40, 130, 3))
                continue
            pane = np.clip(
                glass + rng.uniform(-22, 22) + (rng.uniform(50, 90) if rng.random() < 0.15 else 0),
                0,
                255,
            )
            rect(front, x - half_w - 2, middle - half_h - 2, x + half_w + 2, bottom + 3, frame)
            rect(front, x - half_w, middle - half_h, x + half_w, bottom, pane)
            rect(
                front,
                x - half_w,
                middle - half_h,
                x + half_w,
                middle - half_h * 0.3,
                np.minimum(pane * 1.25 + 12, 255),
            )  # sky in the upper pane
            rect(front, x - 1, middle - half_h, x + 1, bottom, frame)
            if balcony and floor:
                rect(
                    front, x - half_w - 6, bottom - 4, x + half_w + 6, bottom + 7, (105, 105, 108)
                )
    front[:6] = np.clip(front[:6] * 0.7, 0, 255)  # cornice
    return floors, bays, pyramid_of(cv2.cvtColor(front, cv2.COLOR_RGB2RGBA))


def _shop(rng: np.random.Generator, front: Image, floor_px: float) -> None:
    height, width = front.shape[:2]
    top = height - floor_px * 0.95
    rect(front, 0, top, width, height, rng.uniform(50, 150, 3))
    rect(front, 0, top, width, top + 12, rng.uniform(30, 240, 3))
    for x in range(6, width - 20, 46):
        bright = rng.uniform(50, 150)
        rect(front, x, top + 17, x + 38, height - 8, np.array([bright, bright, bright * 0.95]))
        rect(front, x, top + 17, x + 38, top + 28, np.array([bright, bright, bright]) + 30)


def rect(image: Image, x0: float, y0: float, x1: float, y1: float, color: npt.ArrayLike) -> None:
    """Fill a rectangle with a colour, clipped to 0 to 255."""
    cv2.rectangle(
        image,
        (round(x0), round(y0)),
        (round(x1) - 1, round(y1) - 1),
        tuple(np.asarray(color, float).tolist()),
        -1,
    )


@lru_cache(maxsize=1)
def crowns() -> tuple[tuple[Image, ...], ...]:
    """Return pyramids of tree crowns and bushes: (128, 128, 4) uint8, grey leaves and a mask."""
    rng = np.random.default_rng(12)
    return tuple(pyramid_of(_crown(rng)) for _ in range(PLAIN_CROWNS))


def _crown(rng: np.random.Generator) -> Image:
    side = 128
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    inside = np.full((side, side), -9.0, np.float32)
    for _ in range(14):
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0, 30)
        cx, cy = 64 + reach * math.cos(angle), 64 + reach * math.sin(angle)
        inside = np.maximum(inside, 1 - np.hypot(x - cx, y - cy) / rng.uniform(18, 29))
    inside += 0.16 * smooth_noise(rng, (side, side), 12)
    clumps = smooth_noise(rng, (side, side), 20, 4)
    lit = 150 + 55 * clumps - 0.75 * (y - 64) + 12 * rng.normal(0, 1, (side, side))
    lit = np.clip(lit, 35, 255)
    green = np.stack([lit * 0.85, lit, lit * 0.62], axis=-1)
    mask = np.where(inside > 0, 255, 0)
    return np.dstack([green, mask]).astype(np.uint8)


@lru_cache(maxsize=1)
def leaves() -> tuple[Image, ...]:
    """Return the pyramid of a wall of leaves, (64, 256, 4), for hedges."""
    rng = np.random.default_rng(13)
    lit = 140 + 60 * smooth_noise(rng, (64, 256), 12, 4) + 14 * rng.normal(0, 1, (64, 256))
    lit -= np.linspace(-30, 35, 64)[:, None]
    lit = np.clip(lit, 30, 255)
    wall = np.stack([lit * 0.8, lit, lit * 0.6, np.full_like(lit, 255)], axis=-1)
    return pyramid_of(wall.astype(np.uint8))


@lru_cache(maxsize=1)
def ground_noise() -> dict[int, Image]:
    """Return roughness around 128 of road, pavement and grass: two periods of (768, 640, 3)."""
    rng = np.random.default_rng(14)
    rough = 0.5 * smooth_noise(rng, (768, 640), 64, 4)
    rough += 0.35 * rng.normal(0, 1, (768, 640)).astype(np.float32)
    flags = 9 * rough
    flags[np.arange(768) % 12 == 0] -= 17
    flags[:, np.arange(640) % 12 == 0] -= 14
    return {
        surface: np.tile(np.clip(128 + noise, 0, 255)[..., None], (2, 1, 3)).astype(np.uint8)
        for surface, noise in (
            (ROAD_SURFACE, 9 * rough),
            (PAVEMENT_SURFACE, flags),
            (GRASS_SURFACE, 24 * rough),
        )
    }


@lru_cache(maxsize=1)
def clouds() -> tuple[npt.NDArray[np.float32], ...]:
    """Return cloud covers (64, 256) in [-1, 1], tileable horizontally, wider than high."""
    rng = np.random.default_rng(15)
    return tuple(
        cv2.resize(smooth_noise(rng, (512, 512), 128, 5), (256, 64), interpolation=cv2.INTER_AREA)
        for _ in range(6)
    )


@lru_cache(maxsize=4)
def grain(size: tuple[int, int]) -> Image:
    """Return sensor noise around 128, (H + 64, W + 64, 3), to be cropped at a random position."""
    rng = np.random.default_rng(16)
    shape = (size[0] + 64, size[1] + 64, 3)
    return np.clip(rng.normal(128, 24, shape), 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def vignette(size: tuple[int, int]) -> Image:
    """Return the vignette (H, W, 3) uint8: 255 in the centre, darker towards the corners."""
    y, x = np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1])
    fall = 1 - 0.2 * (x[None] ** 2 + y[:, None] ** 2) ** 1.5 / 2**1.5 * 1.6
    return np.repeat((255 * fall)[..., None], 3, axis=-1).astype(np.uint8)
