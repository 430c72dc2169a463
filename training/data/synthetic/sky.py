"""The sky and the skyline at the end of the street."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .camera import Array
from .canvas import Canvas
from .light import Light
from .surfaces import FAR_M, SKY_DEPTH_M, SKY_SURFACE, TOWN_SURFACE, WOOD_SURFACE
from .textures import clouds


class Sky:
    """A cloudy panorama: 120 degrees from side to side, repeated, and 45 degrees high."""

    def __init__(self, rng: np.random.Generator, light: Light) -> None:
        cover = clouds()[rng.integers(len(clouds()))]
        up = np.linspace(1, 0, cover.shape[0], dtype=np.float32)[:, None, None]
        clear = light.sky_low + (light.sky_top - light.sky_low) * up ** 0.7
        share = np.clip((cover - 1 + 2 * light.cloud_amount) * 1.6, 0, 1)[..., None]
        shaded = light.cloud * (0.86 + 0.14 * np.clip(cover, -1, 1)[..., None])
        panorama = np.clip(clear + (shaded - clear) * share, 0, 255).astype(np.uint8)
        self.panorama = np.concatenate([panorama, panorama], axis=1)
        self.turn = rng.uniform(0, 2 * math.pi)

    def paint(self, canvas: Canvas, rows: int) -> None:
        """Fills the first rows of the picture."""
        camera = canvas.camera
        height, width = self.panorama.shape[0], self.panorama.shape[1] // 2  # two turns lie in it
        across = width / (math.pi * 2 / 3) / camera.focal_px
        down = height / (math.pi / 4) / camera.focal_px
        cx, cy = camera.centre
        horizon = cy - camera.focal_px * math.tan(camera.pitch)
        matrix = np.array([[across, 0, (camera.yaw + self.turn) * across * camera.focal_px
                            - cx * across], [0, down, height - 1 - horizon * down]])
        matrix[0, 2] %= width
        part = cv2.warpAffine(self.panorama, matrix, (camera.size[1], rows),
                              flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REPLICATE)
        part = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
        canvas.pixels[:rows] = part - np.array([0, 0, 0, 255 - SKY_SURFACE], np.uint8)
        canvas.set_depth(SKY_SURFACE, SKY_DEPTH_M)


def make_skyline(rng: np.random.Generator) -> tuple[Array, Array]:
    """Heights by azimuth (360,), m, of far houses and of the woods before them."""
    houses = np.repeat(rng.uniform(9, 30, 72), 5)
    woods = np.interp(np.arange(360), np.arange(0, 361, 3), rng.uniform(9, 17, 121))
    return houses, woods


def paint_skyline(canvas: Canvas, skyline: tuple[Array, Array]) -> None:
    """Closes the end of the street, at the far end of the ground."""
    camera, light = canvas.camera, canvas.light
    u = np.linspace(-0.3, 1.3, 120) * camera.size[1]
    azimuth = camera.yaw + np.arctan((u - camera.centre[0]) / camera.focal_px)
    for heights, surface, color, far in (
            (skyline[0], TOWN_SURFACE, np.array([150.0, 140, 134]), FAR_M),
            (skyline[1], WOOD_SURFACE, np.array([70.0, 92, 54]), FAR_M - 5)):
        top = heights[np.floor(np.degrees(azimuth)).astype(int) % 360] \
            if surface == TOWN_SURFACE else np.interp(np.degrees(azimuth) % 360,
                                                      np.arange(360), heights)
        x, z = far * np.sin(azimuth) + camera.position[0], far * np.cos(azimuth)
        upper = np.stack([x, top, z], axis=1)
        lower = np.stack([x, np.zeros_like(x), z], axis=1)
        outline = camera.to_camera(np.concatenate([upper, lower[::-1]]), bend=False)
        color = color * (light.ambient + 0.3 * light.sun)
        canvas.polygons([camera.to_pixels(outline)], canvas.hazy(color[None], far), [surface])
        canvas.set_depth(surface, far)
