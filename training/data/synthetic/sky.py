# SPDX-License-Identifier: Apache-2.0
"""Sky, and the skyline at the end of the street."""

import math

import cv2
import numpy as np

from .camera import Array
from .canvas import Canvas
from .light import Light
from .surfaces import FAR_M, SKY_DEPTH_M, SKY_SURFACE, TOWN_SURFACE, WOOD_SURFACE
from .textures import clouds


class Sky:
    """Cloudy panorama of 120 degrees, which repeats, by 45 degrees of height."""

    def __init__(self, rng: np.random.Generator, light: Light) -> None:
        cover = clouds()[rng.integers(len(clouds()))]
        up = np.linspace(1, 0, cover.shape[0], dtype=np.float32)[:, None, None]
        low, top, cloud = (
            color.astype(np.float32) for color in (light.sky_low, light.sky_top, light.cloud)
        )
        clear = low + (top - low) * up**0.7
        share = np.clip((cover - 1 + 2 * light.cloud_amount) * 1.6, 0, 1)[..., None]
        shaded = cloud * (0.86 + 0.14 * cover[..., None])
        panorama = np.clip(clear + (shaded - clear) * share, 0, 255).astype(np.uint8)
        panorama = cv2.resize(panorama, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        panorama = cv2.cvtColor(panorama, cv2.COLOR_RGB2RGBA)
        self.panorama = np.concatenate([panorama, panorama], axis=1)
        self.turn = rng.uniform(0, 2 * math.pi)

    def paint(self, canvas: Canvas, rows: int) -> None:
        """Paint the first rows of the image."""
        camera = canvas.camera
        height, width = self.panorama.shape[0], self.panorama.shape[1] // 2  # it holds two periods
        across = width / (math.pi * 2 / 3) / camera.focal_px
        down = height / (math.pi / 4) / camera.focal_px
        cx, cy = camera.centre
        horizon = cy - camera.focal_px * math.tan(camera.pitch)
        matrix = np.array(
            [
                [across, 0, (camera.yaw + self.turn) * across * camera.focal_px - cx * across],
                [0, down, height - 1 - horizon * down],
            ]
        )
        matrix[0, 2] %= width
        canvas.pixels[:rows] = cv2.warpAffine(
            self.panorama,
            matrix,
            (camera.size[1], rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        canvas.pixels[:rows, :, 3] = SKY_SURFACE
        canvas.set_depth(SKY_SURFACE, SKY_DEPTH_M)


def make_skyline(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return heights, m, of distant houses every 4 degrees and of woods before them every 3."""
    return rng.uniform(8, 24, 360 // _BLOCK), rng.uniform(6, 11, 121)


def paint_skyline(canvas: Canvas, skyline: tuple[Array, Array]) -> None:
    """Paint the skyline at the far end of the ground."""
    camera, light = canvas.camera, canvas.light
    middle = round(math.degrees(camera.yaw) / _BLOCK) * _BLOCK
    blocks = np.arange(middle - 60, middle + 60, _BLOCK)
    edges = np.stack([blocks, blocks + _BLOCK], axis=1).ravel()
    smooth = np.arange(middle - 60.0, middle + 60.0)
    for azimuth, heights, surface, color, far in (
        (
            edges,
            skyline[0][np.repeat(blocks // _BLOCK % len(skyline[0]), 2)],
            TOWN_SURFACE,
            np.array([150.0, 140, 134]),
            FAR_M,
        ),
        (
            smooth,
            np.interp(smooth, np.arange(0, 361, 3), skyline[1], period=360),
            WOOD_SURFACE,
            np.array([70.0, 92, 54]),
            FAR_M - 5,
        ),
    ):
        angle = np.radians(azimuth)
        x, z = far * np.sin(angle) + camera.position[0], far * np.cos(angle)
        upper = np.stack([x, heights, z], axis=1)
        lower = np.stack([x, np.zeros_like(x), z], axis=1)
        outline = camera.to_camera(np.concatenate([upper, lower[::-1]]), bend=False)
        color = color * (light.ambient + 0.3 * light.sun)
        canvas.polygons([camera.to_pixels(outline)], canvas.hazy(color[None], far), [surface])
        canvas.set_depth(surface, far)


_BLOCK = 4
"""Width of a distant house, degrees."""
