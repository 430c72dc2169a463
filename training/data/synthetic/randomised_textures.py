# SPDX-License-Identifier: Apache-2.0
"""Textures of the randomised city: trees with and without leaves, foliage, house fronts.

They are drawn once per process from a fixed seed. Their indices follow those of the plain city's
textures.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from .textures import (
    BAY_M,
    FLOOR_M,
    PLAIN_CROWNS,
    PLAIN_FACADES,
    PX_M,
    Image,
    crowns,
    facades,
    leaves,
    pyramid_of,
    rect,
    smooth_noise,
)

SIDE = 192


RANDOM_FACADES, LEAFY, BARE, RANDOM_LEAVES = 72, 28, 28, 12
"""Numbers of random textures: fronts, crowns with and without leaves, walls of leaves."""

FACADES, CROWNS, LEAVES = (
    PLAIN_FACADES + RANDOM_FACADES,
    PLAIN_CROWNS + LEAFY + BARE,
    1 + RANDOM_LEAVES,
)
"""Numbers of styles, those of the plain city first."""

T = TypeVar('T')


def facade(style: int) -> tuple[int, int, tuple[Image, ...]]:
    """Return (floors, bays, pyramid) of a house front."""
    return _pick(style, facades(), _random_facades)


def crown(style: int) -> tuple[Image, ...]:
    """Return the pyramid of a tree crown: plain ones, then leafy ones, then bare ones.

    The fourth channel of leafy and bare ones is the opacity. Everything above 40 belongs to the
    plant, including the gaps between leaves and branches, which show the background.
    """
    return _pick(style, crowns(), _random_crowns)


def foliage(style: int) -> tuple[Image, ...]:
    """Return the pyramid of a wall of leaves."""
    return _pick(style, (leaves(),), _random_leaves)


def _pick(style: int, plain: Sequence[T], random: Callable[[], Sequence[T]]) -> T:
    """Return a texture; the random ones are drawn on first use."""
    return plain[style] if style < len(plain) else random()[style - len(plain)]


@lru_cache(maxsize=1)
def _random_facades() -> tuple[tuple[int, int, tuple[Image, ...]], ...]:
    rng = np.random.default_rng(21)
    return tuple(
        _front(rng, int(rng.integers(1, 7)), int(rng.integers(2, 9)))
        for _ in range(RANDOM_FACADES)
    )


@lru_cache(maxsize=1)
def _random_crowns() -> tuple[tuple[Image, ...], ...]:
    rng = np.random.default_rng(22)
    return (
        *(pyramid_of(_leafy(rng)) for _ in range(LEAFY)),
        *(pyramid_of(_bare(rng)) for _ in range(BARE)),
    )


@lru_cache(maxsize=1)
def _random_leaves() -> tuple[tuple[Image, ...], ...]:
    rng = np.random.default_rng(23)
    return tuple(pyramid_of(_foliage(rng, 96, 384)) for _ in range(RANDOM_LEAVES))


def _speckle(rng: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return leaf-like noise with deep gaps, of mean 0 and a standard deviation of about 1."""
    cell = float(rng.uniform(1.0, 3.5))
    coarse = rng.normal(0, 1, (math.ceil(size[0] / cell) + 1, math.ceil(size[1] / cell) + 1))
    fine = cv2.resize(coarse.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return fine - np.float32(rng.uniform(0, 0.8)) * (fine < -0.5)


def _foliage(rng: np.random.Generator, height: int, width: int) -> Image:
    """Return an opaque image of leaves."""
    lit = np.float32(rng.uniform(70, 150)) + np.float32(rng.uniform(20, 60)) * smooth_noise(
        rng, (height, width), int(rng.choice([12, 24, 48])), 4
    )
    lit += np.float32(rng.uniform(15, 45)) * _speckle(rng, (height, width))
    lit -= np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.uniform(0, 50))
    tint = _leaf_tint(rng)
    opaque = np.full((height, width), 255.0, np.float32)
    return (
        np.dstack([np.clip(lit, 4, 255)[..., None] * tint, opaque]).clip(0, 255).astype(np.uint8)
    )


def _leaf_tint(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a colour of leaves: mostly green, also yellow, brown, grey or nearly black."""
    tints = np.array(
        [
            [0.8, 1, 0.55],
            [0.7, 0.95, 0.5],
            [0.9, 1, 0.5],
            [0.65, 0.8, 0.6],
            [1, 0.85, 0.5],
            [0.9, 0.75, 0.6],
            [0.75, 0.8, 0.75],
            [0.8, 0.75, 0.7],
            [1, 0.6, 0.4],
        ],
        np.float32,
    )
    return tints[rng.integers(len(tints))] * rng.uniform(0.85, 1.15, 3).astype(np.float32)


def _leafy(rng: np.random.Generator) -> Image:
    """Return a crown with ragged edges and holes."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    half = SIDE / 2
    inside = np.full((SIDE, SIDE), -9.0, np.float32)
    squeeze = rng.uniform(0.6, 1.0)
    for _ in range(int(rng.integers(4, 22))):
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5) * half
        cx = half + squeeze * reach * math.cos(angle)
        cy = half + reach * math.sin(angle)
        inside = np.maximum(inside, 1 - np.hypot(x - cx, y - cy) / (half * rng.uniform(0.2, 0.48)))
    inside += rng.uniform(0.1, 0.4) * smooth_noise(rng, (SIDE, SIDE), 24, 4)
    whole = inside > 0
    picture = _foliage(rng, SIDE, SIDE)
    leafy = (_speckle(rng, (SIDE, SIDE)) > rng.uniform(-2.2, -0.7)) | (inside > 0.35)
    picture[..., 3] = np.where(whole, np.where(leafy, 255, 60), 0)
    return picture


def _bare(rng: np.random.Generator) -> Image:
    """Return branches without leaves; the gaps between them belong to the tree."""
    paint = np.zeros((SIDE, SIDE), np.uint8)
    shade = rng.uniform(25, 130)
    tint = np.array([1, rng.uniform(0.82, 0.98), rng.uniform(0.68, 0.95)]) * shade
    droop, spread = rng.uniform(-0.02, 0.05), rng.uniform(0.25, 0.6)

    def grow(x: float, y: float, angle: float, length: float, thick: float, level: int) -> None:
        steps = 3
        for _ in range(steps):
            angle += rng.normal(0, 0.16) + droop * math.cos(angle) * (level > 2)
            x2, y2 = x + length / steps * math.cos(angle), y - length / steps * math.sin(angle)
            cv2.line(
                paint,
                (round(x * 8), round(y * 8)),
                (round(x2 * 8), round(y2 * 8)),
                255 if thick > 1 else int(255 * max(thick, 0.45)),
                max(1, round(thick)),
                cv2.LINE_AA,
                3,
            )
            x, y = x2, y2
            if level < 6 and rng.random() < 0.45:
                grow(
                    x,
                    y,
                    angle + rng.choice([-1, 1]) * rng.uniform(0.3, 1.0),
                    length * 0.62,
                    thick * 0.5,
                    level + 2,
                )
        if level < 6:
            for side in (-1, 1):
                grow(
                    x,
                    y,
                    angle + side * rng.uniform(0.5, 1.3) * spread,
                    length * rng.uniform(0.68, 0.86),
                    thick * 0.66,
                    level + 1,
                )

    grow(SIDE / 2, SIDE - 1, math.pi / 2, SIDE * rng.uniform(0.17, 0.22), rng.uniform(4, 8), 0)
    hull = cv2.morphologyEx(
        cv2.threshold(paint, 60, 255, cv2.THRESH_BINARY)[1],
        cv2.MORPH_CLOSE,
        np.ones((17, 17), np.uint8),
    )
    hull = cv2.morphologyEx(hull, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    alpha = np.where(hull > 0, np.maximum(paint, 60), np.where(paint > 100, paint, 0))
    light = 1 + 0.35 * smooth_noise(rng, (SIDE, SIDE), 32, 3)
    color = np.clip(light[..., None] * tint, 0, 255)
    return np.dstack([color, alpha]).astype(np.uint8)


def _front(rng: np.random.Generator, floors: int, bays: int) -> tuple[int, int, tuple[Image, ...]]:
    """Return a house front of a random material."""
    height, width = round(floors * FLOOR_M * PX_M), round(bays * BAY_M * PX_M)
    wall = np.full((height, width, 3), rng.uniform(40, 230), np.float32)
    wall *= rng.uniform(0.82, 1.12, 3)
    wall += (
        rng.uniform(3, 30)
        * smooth_noise(rng, (height, width), int(rng.choice([16, 40, 96])), 4)[..., None]
    )
    kind = rng.random()
    if kind < 0.4:  # courses of bricks or stones
        course, long = int(rng.integers(3, 16)), int(rng.integers(8, 40))
        joint = rng.uniform(-40, 30)
        for number, row in enumerate(range(0, height, course)):
            wall[row] += joint
            wall[row : row + course, (number % 2) * long // 2 :: long] += joint * 0.7
            stones = np.repeat(rng.normal(0, rng.uniform(2, 16), width // long + 2), long)
            wall[row : row + course] += stones[:width, None]
    elif kind < 0.55:  # panels
        step = int(rng.integers(20, 90))
        wall[::step] -= rng.uniform(10, 60)
        wall[:, ::step] -= rng.uniform(10, 60)
    wall += rng.normal(0, rng.uniform(2, 14), (height, width, 1))
    front = np.clip(wall, 0, 255).astype(np.uint8)
    floor_px, bay_px = FLOOR_M * PX_M, BAY_M * PX_M
    half_w, half_h = rng.uniform(0.12, 0.5) * bay_px, rng.uniform(0.18, 0.5) * floor_px
    glass = rng.uniform(10, 150) * rng.uniform(0.85, 1.2, 3)
    frame = rng.uniform(20, 245) * rng.uniform(0.9, 1.1, 3)
    for floor in range(floors):
        middle = height - (floor + 0.5) * floor_px
        if rng.random() < 0.06:
            continue
        if floor == 0 and rng.random() < 0.6:
            _ground_floor(rng, front, floor_px)
            continue
        for bay in range(bays):
            if rng.random() < 0.08:
                continue
            x = (bay + 0.5) * bay_px
            top, bottom = middle - half_h, middle + half_h
            rect(front, x - half_w - 2, top - 2, x + half_w + 2, bottom + 3, frame)
            rect(
                front,
                x - half_w,
                top,
                x + half_w,
                bottom,
                glass * rng.uniform(0.6, 1.5) + (rng.random() < 0.1) * 80,
            )
            if rng.random() < 0.5:  # reflections in the pane
                rect(
                    front,
                    x - half_w,
                    top,
                    x + half_w * rng.uniform(-1, 1),
                    top + (bottom - top) * rng.uniform(0.2, 1),
                    glass + rng.uniform(0, 90),
                )
            for bar in range(int(rng.integers(0, 3))):
                at = x - half_w + (bar + 1) * half_w * 2 / 3
                rect(front, at - 1, top, at + 1, bottom, frame)
    if rng.random() < 0.35:  # pilasters or window bars over the full height
        spacing, band_px = rng.uniform(8, 90), rng.uniform(1, 9)
        shade = rng.uniform(-70, 70)
        for edge in np.arange(rng.uniform(0, spacing), width, spacing).tolist():
            band = front[:, int(edge) : int(edge + band_px) + 1]
            band[:] = np.clip(band.astype(np.int16) + int(shade), 0, 255)
    for _ in range(int(rng.integers(0, 3))):  # pipes
        at = rng.uniform(0, width)
        rect(front, at, 0, at + rng.uniform(1, 4), height, rng.uniform(10, 240) * np.ones(3))
    if rng.random() < 0.35:  # stains, which leaves must not be the only spots for
        spots = smooth_noise(rng, (height, width), int(rng.choice([4, 10, 24])), 4)[..., None]
        front[:] = np.clip(front * (1 + rng.uniform(0.05, 0.3) * spots), 0, 255)
    for _ in range(int(rng.integers(0, 4))):  # posters, boards, pipes
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        rect(front, x, y, x + rng.uniform(3, 60), y + rng.uniform(8, 80), rng.uniform(0, 255, 3))
    front[: int(rng.integers(1, 14))] = rng.uniform(20, 220)
    return floors, bays, pyramid_of(cv2.cvtColor(front, cv2.COLOR_RGB2RGBA))


def _ground_floor(rng: np.random.Generator, front: Image, floor_px: float) -> None:
    """Return shop windows below a sign."""
    height, width = front.shape[:2]
    top = height - floor_px * rng.uniform(0.85, 1.05)
    rect(front, 0, top, width, height, rng.uniform(5, 160) * rng.uniform(0.8, 1.2, 3))
    board = rng.uniform(0, 255, 3)
    high = rng.uniform(6, 18)
    rect(front, 0, top, width, top + high, board)
    ink = 255 - board if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    x = rng.uniform(4, 40)
    while x < width - 10:  # letters
        wide = rng.uniform(2, 7)
        if rng.random() < 0.8:
            rect(front, x, top + high * 0.25, x + wide, top + high * 0.8, ink)
        x += wide + rng.uniform(1, 3)
    x = 3.0
    while x < width:
        wide = rng.uniform(16, 70)
        pane = rng.uniform(5, 120) * rng.uniform(0.85, 1.15, 3)
        bar = rng.uniform(10, 250) * rng.uniform(0.9, 1.1, 3)
        rect(front, x, top + high + 3, x + wide, height - rng.uniform(2, 16), pane)
        for _ in range(int(rng.integers(0, 5))):  # goods, lights and reflections in the pane
            a, b = rng.uniform(x, x + wide), rng.uniform(top + high, height)
            rect(
                front,
                a,
                b,
                min(a + rng.uniform(2, 25), x + wide),
                b + rng.uniform(2, 25),
                rng.uniform(0, 255, 3),
            )
        for at in np.arange(x, x + wide, rng.uniform(6, 40)):  # bright or dark bars of the window
            rect(front, at, top + high + 3, at + rng.uniform(0.6, 2.5), height, bar)
        x += wide + rng.uniform(2, 12)
