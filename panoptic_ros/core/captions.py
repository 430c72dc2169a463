# SPDX-License-Identifier: Apache-2.0
"""Text on pictures: filled boxes with letters in black or white."""

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.palette import Color

Rgb = npt.NDArray[np.uint8]

FONT = cv2.FONT_HERSHEY_SIMPLEX

FONT_PX = 21
"""Height of the font's capital letters at scale 1, px."""

DARK: Color = (24, 24, 24)
"""Background of legends and captions."""

MIN_HEIGHT_PX = 8
"""Smallest height of capital letters that remains legible, px."""

LETTERS_PER_WIDTH = 80
"""Width of a picture over the height of its letters: 16 px on 1280, so that letters keep 8 px on
the tiles of a contact sheet, which are 640 wide."""

ROWS_PER_HEIGHT = 14
"""Smallest height of a picture over that of its letters; panoramas need it."""


class TextStyle(NamedTuple):
    """Size of text."""

    height_px: int
    """Height of capital letters, px."""

    @property
    def scale(self) -> float:
        """OpenCV's font scale."""
        return self.height_px / FONT_PX

    @property
    def thickness(self) -> int:
        """Thickness of strokes, px."""
        return max(1, round(self.height_px / 9))

    @property
    def pad(self) -> int:
        """Space between the letters and the edge of their box, px."""
        return max(2, round(self.height_px * 0.35))

    @property
    def line_px(self) -> int:
        """Height of a box with one line of text, px; letters like g descend below the line."""
        return round(self.height_px * 1.35) + 2 * self.pad


def style_for(height: int, width: int) -> TextStyle:
    """Return the size of text that fits a picture of this size, px."""
    return TextStyle(
        max(MIN_HEIGHT_PX, round(min(width / LETTERS_PER_WIDTH, height / ROWS_PER_HEIGHT)))
    )


def drawable(text: str, otherwise: str | None = None) -> str:
    """Return a text in the characters that OpenCV's font has, which are those of ASCII.

    Args:
        text: any text. Accents are removed.
        otherwise: text to return if a letter has no counterpart; None writes `?` for each such
            letter.

    Example:
        >>> drawable('Fahrradständer.jpg')
        'Fahrradstander.jpg'
        >>> drawable('車.jpg')
        '?.jpg'
        >>> drawable('車', otherwise='class 7')
        'class 7'
    """
    letters = (c for c in unicodedata.normalize('NFKD', text) if not unicodedata.combining(c))
    plain = ''.join(c if c.isascii() and c.isprintable() else '\0' for c in letters)
    if '\0' in plain and otherwise is not None:
        return otherwise
    return plain.replace('\0', '?')


@lru_cache(maxsize=4096)
def box_width(text: str, style: TextStyle) -> int:
    """Return the width of the box of a text, px."""
    (width, _), _ = cv2.getTextSize(text, FONT, style.scale, style.thickness)
    return int(width) + 2 * style.pad


def shorten(text: str, width: int, style: TextStyle, keep_end: bool = False) -> str:
    """Replace the end of a text, or its start, by dots until its box has at most this width."""
    if box_width(text, style) <= width:
        return text
    shorter = text
    while shorter and box_width(f'...{shorter}', style) > width:
        shorter = shorter[1:] if keep_end else shorter[:-1]
    return f'...{shorter}' if keep_end else f'{shorter}...'


def ink_for(fill: Color) -> Color:
    """Return black or white, whichever contrasts more with a background (WCAG 2, luminance)."""
    red, green, blue = ((c / 255) ** 2.2 for c in fill)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else (255, 255, 255)


def draw_text(
    picture: Rgb,
    text: str,
    corner: tuple[int, int],
    style: TextStyle,
    fill: Color = DARK,
    border: Color | None = None,
) -> None:
    """Draw a line of text on a filled box.

    Args:
        picture: (H, W, 3) RGB, drawn into.
        text: one line; see `drawable`.
        corner: (x, y) of the upper left corner of the box, px.
        style: size of the text.
        fill: colour of the box; the letters are black or white.
        border: colour of the box's edge; None draws no edge.
    """
    x, y = corner
    opposite = x + box_width(text, style) - 1, y + style.line_px - 1
    cv2.rectangle(picture, corner, opposite, fill, cv2.FILLED)
    if border is not None:
        cv2.rectangle(picture, corner, opposite, border, 1)
    base = y + style.pad + round(style.height_px * 1.05)
    cv2.putText(
        picture,
        text,
        (x + style.pad, base),
        FONT,
        style.scale,
        ink_for(fill),
        style.thickness,
        cv2.LINE_AA,
    )


def draw_caption(text: str, width: int, style: TextStyle) -> Rgb:
    """Return a strip (h, width, 3) with text; a line that is too long continues on the next."""
    lines = ['']
    for word in drawable(text).split(' '):
        longer = f'{lines[-1]} {word}'.strip() if lines[-1] else word
        if lines[-1] and box_width(longer, style) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    strip = np.full((style.line_px * len(lines), width, 3), DARK, np.uint8)
    for place, line in enumerate(lines):
        draw_text(strip, shorten(line, width, style), (0, place * style.line_px), style)
    return strip
