# SPDX-License-Identifier: Apache-2.0
"""Colours as people with a colour vision deficiency see them, and distances between colours."""

from itertools import combinations

import numpy as np

NORMAL = np.eye(3)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
"""Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
Deficiency", 2009, severity 1.0; for linear RGB."""

VISIONS = {'normal': NORMAL, 'protanopia': PROTANOPIA, 'deuteranopia': DEUTERANOPIA}

XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""sRGB to CIE XYZ, D65."""


def lab(rgb, vision=NORMAL):
    """Return CIELAB (N, 3) of colours (N, 3), 0 to 255, as seen with a vision."""
    value = np.asarray(rgb, float) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ vision.T, 0, 1)
    xyz = linear @ XYZ.T / XYZ.sum(axis=1)  # white is 1, 1, 1
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distance(one, other, vision=NORMAL):
    """Return the CIE76 distance of two colours."""
    a, b = lab([one, other], vision)
    return float(np.linalg.norm(a - b))


def smallest_distance(colors, vision=NORMAL):
    """Return the smallest distance between any two of some colours."""
    return min(distance(a, b, vision) for a, b in combinations(colors, 2))
