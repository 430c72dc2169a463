# SPDX-License-Identifier: Apache-2.0
"""Colours of classes that people can tell apart, also with a colour vision deficiency."""

from collections.abc import Sequence

import cv2
import numpy as np

Color = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (96, 218, 255),
    (255, 255, 0),
    (1, 0, 253),
    (176, 60, 6),
    (255, 255, 173),
    (5, 62, 119),
    (9, 130, 255),
    (28, 172, 113),
    (0, 0, 184),
    (224, 255, 113),
    (244, 181, 0),
    (211, 123, 13),
    (149, 196, 103),
    (64, 169, 255),
    (238, 211, 181),
    (31, 91, 110),
    (137, 44, 186),
    (0, 88, 253),
    (239, 131, 200),
    (212, 73, 190),
    (147, 80, 55),
    (0, 0, 106),
    (32, 1, 50),
    (63, 30, 0),
)
"""RGB. Found by a random search that moved one colour at a time, to maximise the smallest CIE76
distance between any two of them, and to black, the colour of void, and white, in normal vision and
in deuteranopia and protanopia (simulated after Machado et al. 2009, severity 1.0), both alone and
mixed with greys as the overlay mixes them. Two colours differ by at least 27.4 in normal vision,
20.2 in deuteranopia and 20.6 in protanopia. Each differs most from those before it, but the dark
ones are last."""

BRIGHT = 20
"""Number of colours at the start of the palette that show well over dark parts of an image too."""

MIX_STEP = 0.1
"""Share of white or black that is added per round of the palette."""


def distinct_color(index: int) -> Color:
    """Return the RGB colour of class `index`.

    The first 24 classes have the colours of the palette. Further ones have its colours mixed with
    white and with black in turn, so that all differ, but some are alike: such label sets need a
    legend.

    Args:
        index: place in the label set, from 0 to 254.

    Example:
        >>> distinct_color(0) == PALETTE[0]
        True
        >>> len({distinct_color(i) for i in range(255)})
        255
    """
    base, rounds = PALETTE[index % len(PALETTE)], index // len(PALETTE)
    share = (rounds + 1) // 2 * MIX_STEP
    mixed = 255 if rounds % 2 else 0
    red, green, blue = (round((1 - share) * c + share * mixed) for c in base)
    return red, green, blue


def distinct_colors(own_colors: Sequence[Color]) -> list[Color]:
    """Return the colours of the classes of a label set in pictures.

    Up to 24 classes receive those colours of the palette that resemble their own most, so that
    trees stay green as far as possible. More classes have the colours of `distinct_color`.

    Args:
        own_colors: RGB of the data set or the class file, by class id.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    if len(own_colors) > len(PALETTE):
        return [distinct_color(i) for i in range(len(own_colors))]
    colors = PALETTE[: max(len(own_colors), BRIGHT)]
    own_lab, lab = (
        cv2.cvtColor(np.array([some], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
        for some in (own_colors, colors)
    )
    difference = np.linalg.norm(own_lab[:, None] - lab, axis=-1)  # (C, P)
    _, places = linear_sum_assignment(difference)
    return [colors[place] for place in places]
