# SPDX-License-Identifier: Apache-2.0
"""Canvas that receives colour and surface number in one pass.

A pixel is (R, G, B, surface). One drawing call sets all four, so labels, track ids and depth,
which are derived from the surface number, match the image exactly.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from .camera import NEAR_M, Array, PinholeCamera
from .light import Light
from .surfaces import SURFACES
from .textures import level_of

_SHIFT = 4
_RAMP = np.arange(256.0)[:, None]
_HOUSE_NORMALS = np.array([[1.0, 0, 0], [-1, 0, 0], [0.55, 0.83, 0], [-0.55, 0.83, 0], [0, 0, -1]])
_CAP = np.linspace(-math.pi / 2, math.pi / 2, 6)


class Canvas:
    """Painter of street geometry in a camera's view and a given light.

    Attributes:
        pixels: (H, W, 4) uint8, RGB and surface number.
        planes: (256, 5) float32 per surface: a, b, c of 1 / depth = a u + b v + c, then its
            smallest and largest depth, m.
        end_light: (3,) light on walls that face the camera along the road.
    """

    def __init__(self, camera: PinholeCamera, light: Light) -> None:
        self.camera, self.light = camera, light
        self.pixels = np.empty((*camera.size, 4), np.uint8)
        self.planes = np.tile(np.array([0, 0, 1, 1, 1], np.float32), (SURFACES, 1))
        self._lit = light.shade(_HOUSE_NORMALS)
        self.end_light = self._lit[4]

    def wall_light(self, x: float) -> Array:
        """Return the light on the front of a house at `x`, (3,)."""
        return self._lit[int(x > 0)]

    def roof_light(self, x: float) -> Array:
        """Return the light on the roof of a house at `x`, (3,)."""
        return self._lit[2 + int(x > 0)]

    def set_plane(
        self, surface: int, plane: tuple[float, float, float], near_m: float, far_m: float
    ) -> None:
        """Set the plane of a surface and its range of depth."""
        self.planes[surface] = (*plane, max(near_m, 0.1), max(far_m, 0.1))

    def set_depth(self, surface: int, depth_m: float) -> None:
        """Set the depth of a surface that faces the camera."""
        depth_m = max(depth_m, 0.1)
        self.set_plane(surface, (0.0, 0.0, 1 / depth_m), depth_m, depth_m)

    def hazy(self, colors: Array, depth_m: float) -> list[list[float]]:
        """Return lit colours (N, 3) with the haze of a depth."""
        fade = self.light.fade(depth_m)
        return np.minimum(colors * (1 - fade) + self.light.haze * fade, 255.0).tolist()

    def polygons(
        self, points: Sequence[Array], colors: Sequence[Sequence[float]], surfaces: Sequence[int]
    ) -> None:
        """Fill polygons (n, 2) px, in order."""
        for polygon, color, surface in zip(points, colors, surfaces, strict=True):
            fixed = np.rint(polygon * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(self.pixels, [fixed], (*color, surface), cv2.LINE_8, _SHIFT)

    def sticks(self, ends: Array, radii: Array, colors: Array, surface: int) -> None:
        """Draw tapered sticks with round ends, in order.

        Args:
            ends: (N, 2, 3) camera coordinates, m.
            radii: (N, 2) m.
            colors: (N, 3) lit RGB.
            surface: their surface number.
        """
        seen = ends.reshape(-1, 3)
        depth = np.maximum(seen[:, 2], NEAR_M)
        centre = self.camera.to_pixels(seen).reshape(-1, 2, 2)
        radius = np.maximum(radii.reshape(-1) * self.camera.focal_px / depth, 0.5).reshape(-1, 2)
        along = centre[:, 1] - centre[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + _CAP
        rays = np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (N, 6, 2)
        outline = np.concatenate(
            [
                centre[:, 1:] + rays * radius[:, 1:, None],
                centre[:, :1] - rays * radius[:, :1, None],
            ],
            axis=1,
        )
        fixed = np.rint(outline * (1 << _SHIFT)).astype(np.int32)
        shown = self.hazy(colors, float(depth[0]))
        for polygon, color in zip(fixed, shown, strict=True):
            cv2.fillConvexPoly(self.pixels, polygon, (*color, surface), cv2.LINE_8, _SHIFT)

    def textured(
        self,
        corners: Array,
        texture: npt.NDArray[np.uint8],
        tint: Array,
        depth_m: float,
        surface: int,
    ) -> None:
        """Warp a texture onto a convex quadrilateral.

        Args:
            corners: (4, 2) px, of the texture's top left, top right, bottom right, bottom left.
            texture: (h, w, 4) uint8, of which RGB are used.
            tint: (3,) factors.
            depth_m: how much air is in front.
            surface: its surface number.
        """
        box = self._box(*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
        if box is None:
            return
        left, top, right, bottom = box
        local = (corners - (left, top)).astype(np.float32)
        h, w = texture.shape[:2]
        source = np.array(
            [[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]], np.float32
        )
        size = right - left, bottom - top
        matrix = cv2.getPerspectiveTransform(source, local)
        patch = cv2.warpPerspective(
            self._tinted(texture, tint, depth_m, surface),
            matrix,
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        mask = np.zeros((size[1], size[0]), np.uint8)
        fixed = np.rint(local * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_8, _SHIFT)
        cv2.copyTo(patch, mask, self.pixels[top:bottom, left:right])

    def cut_out(
        self,
        centre: Array,
        size: tuple[float, float],
        pyramid: tuple[npt.NDArray[np.uint8], ...],
        tint: Array,
        depth_m: float,
        surface: int,
        thin: bool = False,
    ) -> None:
        """Paste the masked part of an upright picture.

        Args:
            centre: (2,) px.
            size: width and height, px.
            pyramid: levels of (h, w, 4) uint8, RGB and a mask of 0 or 255.
            tint: (3,) factors.
            depth_m: how much air is in front.
            surface: its surface number.
            thin: whether the mask is an opacity; pixels above 40 belong to the surface.
        """
        (u, v), (wide, high) = centre.tolist(), size
        box = self._box(u - wide / 2, v - high / 2, u + wide / 2, v + high / 2)
        if box is None:
            return
        left, top, right, bottom = box
        texture = level_of(pyramid, pyramid[0].shape[1] / max(wide, 1.0))
        h, w = texture.shape[:2]
        across, down = w / wide, h / high
        matrix = np.array(
            [
                [across, 0, (left - u + wide / 2) * across - 0.5],
                [0, down, (top - v + high / 2) * down - 0.5],
            ]
        )
        patch = cv2.warpAffine(
            self._tinted(texture, tint, depth_m, None),
            matrix,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )
        if thin:
            below = self.pixels[top:bottom, left:right]
            cover = cv2.extractChannel(patch, 3)
            share = (cover.astype(np.float32) - 60).clip(0, 195)[..., None] / 195
            mixed = below[..., :3] + share * (patch[..., :3].astype(np.float32) - below[..., :3])
            own = cover > 40
            below[own, :3] = mixed[own]
            below[own, 3] = surface
            return
        _, mask = cv2.threshold(cv2.extractChannel(patch, 3), 127, 255, cv2.THRESH_BINARY)
        patch[..., 3] = surface
        cv2.copyTo(patch, mask, self.pixels[top:bottom, left:right])

    def _box(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[int, int, int, int] | None:
        """Return the integer bounds of a rectangle inside the image; None if it is outside."""
        height, width = self.camera.size
        box = (
            max(math.floor(left), 0),
            max(math.floor(top), 0),
            min(math.ceil(right) + 1, width),
            min(math.ceil(bottom) + 1, height),
        )
        return box if box[0] < box[2] and box[1] < box[3] else None

    def _tinted(
        self, texture: npt.NDArray[np.uint8], tint: Array, depth_m: float, surface: int | None
    ) -> npt.NDArray[np.uint8]:
        """Return a texture with its colour and haze, (h, w, 4).

        The last channel is the surface number, or the texture's own mask if it is None.
        """
        fade = self.light.fade(depth_m)
        table = np.empty((256, 1, 4), np.uint8)
        colors = _RAMP * (tint * (1 - fade)) + self.light.haze * fade
        table[:, 0, :3] = np.minimum(colors, 255)
        table[:, 0, 3] = _RAMP[:, 0] if surface is None else surface
        return cv2.LUT(texture, table)


def depth_map(
    surfaces: npt.NDArray[np.uint8], planes: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the depth (H, W) m of surfaces (H, W), by the `planes` of a canvas."""
    height, width = surfaces.shape
    a, b, c, near, far = (cv2.LUT(surfaces, np.ascontiguousarray(row)) for row in planes.T)
    a *= np.arange(width, dtype=np.float32)
    b *= np.arange(height, dtype=np.float32)[:, None]
    c += a
    c += b
    np.divide(1.0, np.maximum(c, np.float32(1e-4), out=c), out=c)
    return np.clip(c, near, far, out=c)
