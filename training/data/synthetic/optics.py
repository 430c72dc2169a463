# SPDX-License-Identifier: Apache-2.0
"""Motion of the camera, and the effects of its lens and sensor on the image."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .camera import Array, PinholeCamera
from .textures import grain, vignette


@dataclass(frozen=True)
class Optics:
    """Mounting, motion, lens and sensor of a camera."""

    focal: float
    """Focal length relative to the image's width."""

    height_m: float
    yaw: float
    pitch: float
    curvature: float
    speed: float
    sway: Array
    """(5, 3) amplitude, frequency (rad/s) and phase of yaw, pitch, roll, side and height."""

    curve: npt.NDArray[np.uint8]
    """(256, 1, 3) tone curve per channel."""

    noise: float
    blur: float
    """Blur in pixels of an image of 512 px width; at most 1.2 px in any image."""

    vignetted: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, on_pavement: bool, speed: float) -> 'Optics':
        """Draw a random camera; one on the pavement is turned towards the road."""
        shake = rng.uniform(0.2, 1.0) * (1.0 if speed else 0.25)
        amplitude = shake * np.array([0.008, 0.005, 0.006, 0.12, 0.02])
        sway = np.stack([amplitude, rng.uniform(0.8, 4.0, 5), rng.uniform(0, 6.28, 5)], axis=1)
        gamma, gain = rng.uniform(0.85, 1.2), rng.uniform(0.9, 1.08)
        white = rng.uniform(0.96, 1.04, 3)
        tone = np.linspace(0, 1, 256)[:, None] ** gamma * gain * white
        curve = np.clip(tone * 255, 0, 255).astype(np.uint8)[:, None]
        bend = rng.uniform(-1 / 250, 1 / 250) if rng.random() < 0.5 and not on_pavement else 0.0
        return cls(
            focal=rng.uniform(0.62, 0.95),
            height_m=rng.uniform(1.25, 2.1),
            yaw=rng.uniform(-0.6, 0.1) if on_pavement else rng.normal(0, 0.04),
            pitch=rng.uniform(0.0, 0.09),
            curvature=float(bend),
            speed=speed,
            sway=sway,
            curve=curve,
            noise=rng.uniform(0.03, 0.22),
            blur=rng.uniform(0.35, 0.75),
            vignetted=bool(rng.random() < 0.5),
        )

    def camera(
        self, size: tuple[int, int], time_s: float, x: float
    ) -> tuple[PinholeCamera, float]:
        """Return the camera at a time, and its distance along the street, m."""
        amplitude, rate, phase = self.sway.T
        yaw, pitch, roll, side, up = (amplitude * np.sin(rate * time_s + phase)).tolist()
        gone = self.speed * (time_s + 0.6 * math.sin(0.25 * time_s))
        camera = PinholeCamera(
            size,
            self.focal * size[1],
            (x + side, self.height_m + up),
            self.yaw + yaw,
            self.pitch + pitch,
            roll,
            self.curvature,
        )
        return camera, gone

    def develop(
        self, pixels: npt.NDArray[np.uint8], seed: int, frame_index: int
    ) -> npt.NDArray[np.uint8]:
        """Return the sensor's image (H, W, 3) of painted pixels (H, W, 4)."""
        image = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)
        size = image.shape[:2]
        sigma = min(self.blur * size[1] / 512, 1.2)
        side = 2 * math.ceil(1.6 * sigma) + 1
        image = cv2.GaussianBlur(image, (side, side), sigma)
        image = cv2.LUT(image, self.curve)
        if self.vignetted:
            image = cv2.multiply(image, vignette(size), scale=1 / 255)
        dy, dx = (
            (seed * 7919 + frame_index * k) * 2654435761 % 4294967296 >> 26
            for k in (104729, 1299709)
        )
        noise = grain(size)[dy : dy + size[0], dx : dx + size[1]]
        return cv2.addWeighted(image, 1.0, noise, self.noise, -128 * self.noise)
