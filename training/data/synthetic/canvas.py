"""The sheet everything is painted on: colour and surface number in one pass.

A pixel is (R, G, B, surface). One drawing call sets all four, so labels, track ids and depth,
which are read from the surface number, cannot differ from the picture by a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from .camera import NEAR_M, Array, Camera
from .light import Light

_SHIFT = 4
_CAP = np.linspace(-math.pi / 2, math.pi / 2, 6)
SURFACES = 256
"""Surface numbers are 0 to 255."""


class Canvas:
    """Paints street geometry as the camera sees it, in the light there is.

    Attributes:
        pixels: (H, W, 4) uint8, RGB and surface number.
        planes: (256, 5) float32 per surface: 1 / depth = a u + b v + c, then the nearest and
            farthest depth it may have.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        self.pixels = np.empty((*camera.size, 4), np.uint8)
        self.planes = np.tile(np.array([0, 0, 1, 1, 1], np.float32), (SURFACES, 1))

    def set_plane(self, surface: int, plane: tuple[float, float, float], near_m: float,
                  far_m: float) -> None:
        """Says where a surface lies."""
        self.planes[surface] = (*plane, max(near_m, 0.1), max(far_m, 0.1))

    def set_depth(self, surface: int, depth_m: float) -> None:
        """Says that a surface faces the camera at this depth."""
        depth_m = max(depth_m, 0.1)
        self.set_plane(surface, (0.0, 0.0, 1 / depth_m), depth_m, depth_m)

    def hazy(self, colors: Array, depth_m: float) -> list[list[float]]:
        """Lit colours (N, 3) as seen through this much air."""
        fade = self.light.fade(depth_m)
        return np.minimum(colors * (1 - fade) + self.light.haze * fade, 255.0).tolist()

    def polygons(self, points: Sequence[Array], colors: Sequence[Sequence[float]],
                 surfaces: Sequence[int]) -> None:
        """Fills polygons (n, 2) px, in order."""
        for polygon, color, surface in zip(points, colors, surfaces, strict=True):
            fixed = np.rint(polygon * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(self.pixels, [fixed], (*color, surface), cv2.LINE_8, _SHIFT)

    def capsules(self, ends: Array, radii: Array, colors: Array, surface: int) -> None:
        """Draws tapered round-ended sticks in order.

        Args:
            ends: (N, 2, 3) street coordinates with the road's bend already in them, m.
            radii: (N, 2) m.
            colors: (N, 3) lit RGB.
            surface: their surface number.
        """
        seen = self.camera.to_camera(ends.reshape(-1, 3), bend=False)
        depth = np.maximum(seen[:, 2], NEAR_M)
        centre = self.camera.to_pixels(seen).reshape(-1, 2, 2)
        radius = np.maximum(radii.reshape(-1) * self.camera.focal_px / depth, 0.5).reshape(-1, 2)
        along = centre[:, 1] - centre[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + _CAP
        rays = np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (N, 6, 2)
        outline = np.concatenate([centre[:, 1:] + rays * radius[:, 1:, None],
                                  centre[:, :1] - rays * radius[:, :1, None]], axis=1)
        fixed = np.rint(outline * (1 << _SHIFT)).astype(np.int32)
        shown = self.hazy(colors, float(depth.mean()))
        for polygon, color in zip(fixed, shown, strict=True):
            cv2.fillConvexPoly(self.pixels, polygon, (*color, surface), cv2.LINE_8, _SHIFT)

    def textured(self, corners: Array, texture: npt.NDArray[np.uint8], tint: Array,
                 depth_m: float, surface: int, cut_out: bool = False) -> None:
        """Warps a texture onto a convex quadrilateral.

        Args:
            corners: (4, 2) px, of the texture's top left, top right, bottom right, bottom left.
            texture: (h, w, 3) uint8, or (h, w, 4) with a mask (0 or 255) for `cut_out`.
            tint: (3,) factors.
            depth_m: how much air is in front.
            surface: its surface number.
            cut_out: paint only where the mask is.
        """
        height, width = self.camera.size
        low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(corners.max(axis=0)) + 1, (width, height)).astype(int)
        if (high - low).min() < 1:
            return
        local = (corners - low).astype(np.float32)
        h, w = texture.shape[:2]
        source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - np.float32(0.5)
        fade = self.light.fade(depth_m)
        change = np.zeros((4, texture.shape[2] + 1), np.float32)
        change[[0, 1, 2], [0, 1, 2]] = tint * (1 - fade)
        change[:3, -1] = self.light.haze * fade
        if cut_out:
            change[3, 3] = 1
        else:
            change[3, -1] = surface
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        matrix = cv2.getPerspectiveTransform(source, local)
        patch = cv2.warpPerspective(cv2.transform(texture, change), matrix, size,
                                    flags=cv2.INTER_LINEAR,
                                    borderMode=cv2.BORDER_CONSTANT if cut_out
                                    else cv2.BORDER_REPLICATE)
        if cut_out:
            mask = cv2.compare(cv2.extractChannel(patch, 3), 127, cv2.CMP_GT)
            cv2.insertChannel(np.full(mask.shape, surface, np.uint8), patch, 3)
        else:
            mask = np.zeros((size[1], size[0]), np.uint8)
            fixed = np.rint(local * (1 << _SHIFT)).astype(np.int32)
            cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_8, _SHIFT)
        target = self.pixels[low[1]:high[1], low[0]:high[0]]
        cv2.copyTo(patch, mask, target)


def depth_map(surfaces: npt.NDArray[np.uint8], planes: npt.NDArray[np.float32],
              ) -> npt.NDArray[np.float32]:
    """Depth (H, W) m of every pixel from its surface (H, W) and the `planes` of a canvas."""
    height, width = surfaces.shape
    a, b, c, near, far = (cv2.LUT(surfaces, np.ascontiguousarray(row)) for row in planes.T)
    a *= np.arange(width, dtype=np.float32)
    b *= np.arange(height, dtype=np.float32)[:, None]
    c += a
    c += b
    np.divide(1.0, np.maximum(c, np.float32(1e-4), out=c), out=c)
    return np.clip(c, near, far, out=c)
