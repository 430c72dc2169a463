# SPDX-License-Identifier: Apache-2.0
"""Ground of a street: road, pavements and grass."""

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from .camera import Array
from .canvas import Canvas
from .layout import Layout
from .light import Light
from .profile import Profile
from .surfaces import FAR_M, GRASS_SURFACE, PAVEMENT_SURFACE, ROAD_SURFACE
from .textures import Image, ground_noise

_PX_M = 16
_HALF_X_M = 20.0
_LENGTH_M = 48.0


class Ground:
    """Ground texture, 40 m wide, which repeats every 48 m along the road."""

    def __init__(
        self,
        rng: np.random.Generator,
        layout: Layout,
        light: Light,
        colors: tuple[Array, Array, Array] | None = None,
    ) -> None:
        rows, columns = int(_LENGTH_M * _PX_M), int(2 * _HALF_X_M * _PX_M)
        x = (np.arange(columns) + 0.5) / _PX_M - _HALF_X_M
        self._up = light.shade(np.array([[0.0, 1.0, 0.0]]))[0]
        base, self.surface = _zones(rng, x, layout.profile, colors)
        base *= self._up * (1 - 0.35 * light.wet * (self.surface == ROAD_SURFACE))[:, None]
        shift = int(rng.integers(rows))
        noise = ground_noise()
        cuts = [0, *(np.flatnonzero(np.diff(self.surface)) + 1).tolist(), columns]
        smooth = np.concatenate(
            [
                noise[self.surface[start]][shift : shift + rows, start:stop]
                for start, stop in pairwise(cuts)
            ],
            axis=1,
        )
        flat = np.broadcast_to(np.clip(base, 0, 255).astype(np.uint8), smooth.shape)
        texture = cv2.addWeighted(np.ascontiguousarray(flat), 1.0, smooth, 1.0, -128.0)
        self._mark(rng, texture, x, layout)
        texture = cv2.cvtColor(texture, cv2.COLOR_RGB2RGBA)  # four channels are faster to sample
        self.levels = [texture]
        for fx, fz in ((2, 4), (4, 16)):
            self.levels.append(
                cv2.resize(texture, (columns // fx, rows // fz), interpolation=cv2.INTER_AREA)
            )

    def _mark(self, rng: np.random.Generator, texture: Image, x: Array, layout: Layout) -> None:
        """Paint lane lines, kerbs, parking bays, repairs and a crossing."""
        profile = layout.profile
        z = np.arange(texture.shape[0]) / _PX_M
        white = rng.uniform(185, 235)
        dash = z % 6.0 < rng.choice([2.0, 3.0])
        always = np.ones(len(z), bool)

        def put(rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_], color: float) -> None:
            texture[np.ix_(rows, columns)] = np.clip(color * self._up, 0, 255).astype(np.uint8)

        def line(at: float, rows: npt.NDArray[np.bool_], color: float, wide: float = 0.14) -> None:
            put(rows, np.abs(x - at) < wide / 2, color)

        for _ in range(3):  # repairs
            row, column = rng.integers(texture.shape[0] - 90), rng.integers(250, 360)
            part = texture[row : row + rng.integers(20, 90), column : column + rng.integers(8, 24)]
            part[:] = cv2.convertScaleAbs(part, alpha=rng.uniform(0.86, 1.08))
        if rng.random() < 0.85:
            line(0.0, always if rng.random() < 0.2 else dash, white)
        for side in (-1, 1):
            for lane in range(1, profile.lanes):
                line(side * lane * profile.lane_m, dash, white)
            edge = side * profile.lanes * profile.lane_m
            if profile.cycle_m or rng.random() < 0.4:
                line(edge, always, white)
            if profile.parking_m:
                line(side * (profile.kerb_x - profile.parking_m), z % 6.0 > 0.5, white, 0.1)
            line(side * (profile.kerb_x + 0.1), always, 168, 0.22)
            line(side * (profile.kerb_x - 0.06), always, 62, 0.1)
        if layout.zebra_z is not None:
            rows = (z >= layout.zebra_z) & (z < layout.zebra_z + 3.4)
            put(rows, (x % 1.0 < 0.5) & (np.abs(x) < profile.kerb_x - 0.2), white)

    def paint(self, canvas: Canvas, camera_z: float) -> int:
        """Paint the image from the horizon down; return the first painted row."""
        camera, light = canvas.camera, canvas.light
        top = camera.ground_rows(FAR_M)
        x, z = camera.ground_points(top, FAR_M)
        middle = np.abs(z[:, z.shape[1] // 2])
        x += np.float32(_HALF_X_M)
        x *= np.float32(_PX_M)
        np.clip(x, 0, len(self.surface) - 1, out=x)
        z += np.float32(camera_z % _LENGTH_M)
        z *= np.float32(_PX_M)
        below = canvas.pixels[top:]
        # Distant rows sample coarser copies, so that the markings do not flicker.
        near, mid = (int(np.searchsorted(-middle, -limit)) for limit in (9.0, 28.0))
        for level, (start, stop) in enumerate(((near, len(x)), (mid, near), (0, mid))):
            if start >= stop:
                continue
            fx, fz = ((1, 1), (2, 4), (4, 16))[level]
            map_x = x[start:stop] / np.float32(fx) - np.float32(0.5)
            map_y = z[start:stop] / np.float32(fz) - np.float32(0.5)
            color = cv2.remap(
                self.levels[level], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
            if light.fade((6.0, 15.0, 50.0)[level]) > 0.02:
                color = _hazed(color, middle[start:stop], light)
            below[start:stop] = color
        below[..., 3] = np.take(self.surface, x.astype(np.int32))
        plane = camera.ground_plane()
        for surface in (ROAD_SURFACE, PAVEMENT_SURFACE, GRASS_SURFACE):
            canvas.set_plane(surface, plane, 0.3, FAR_M)
        return top


def _hazed(color: Image, depth: npt.NDArray[np.float32], light: Light) -> Image:
    """Return image rows (h, W, 4) of the ground at depths (h,)."""
    keep = np.exp(-light.haze_per_m * depth)[:, None, None].astype(np.float32)
    haze = np.append(light.haze, 0).astype(np.float32)
    return (color * keep + haze * (1 - keep)).astype(np.uint8)


def _zones(
    rng: np.random.Generator, x: Array, profile: Profile, colors: tuple[Array, Array, Array] | None
) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Return colour (n, 3) and surface (n,) at each x across the street."""
    asphalt = rng.uniform(78, 128) * np.array([1, 1, rng.uniform(0.98, 1.06)])
    stone = rng.uniform(125, 178) * np.array([1, rng.uniform(0.95, 1), rng.uniform(0.86, 0.98)])
    grass = np.array([92, 122, 58]) * rng.uniform(0.75, 1.15)
    if colors is not None:
        asphalt, stone, grass = colors
    cycle = asphalt * rng.choice(np.array([[1.35, 0.75, 0.7], [0.8, 1.15, 0.85], [1, 1, 1]]))
    color, surface = np.tile(asphalt, (len(x), 1)), np.full(len(x), ROAD_SURFACE, np.uint8)
    for side in (-1, 1):
        out = x * side
        lanes = profile.lanes * profile.lane_m
        color[(out > lanes) & (out < lanes + profile.cycle_m)] = cycle
        color[(out > profile.kerb_x - profile.parking_m) & (out < profile.kerb_x)] = asphalt * 0.88
        start, end = profile.walk(side)
        for low, high, paint, what in (
            (profile.kerb_x, start, grass, GRASS_SURFACE),
            (start, end, stone, PAVEMENT_SURFACE),
            (
                end,
                99.0,
                grass if profile.garden_m[side > 0] > 0 else stone * 0.9,
                GRASS_SURFACE if profile.garden_m[side > 0] > 0 else PAVEMENT_SURFACE,
            ),
        ):
            zone = (out >= low) & (out < high)
            color[zone], surface[zone] = paint, what
        surface[(out >= profile.kerb_x) & (out < profile.kerb_x + 0.25)] = PAVEMENT_SURFACE
    return color, surface
