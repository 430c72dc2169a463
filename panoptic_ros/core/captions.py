# SPDX-License-Identifier: Apache-2.0
"""Text and legends on pictures: filled boxes with letters in black or white."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.palette import Color

Rgb = npt.NDArray[np.uint8]

FONT = cv2.FONT_HERSHEY_SIMPLEX

FONT_PX = 21
"""Height of the font's capital letters at scale 1, px."""

DARK: Color = (24, 24, 24)
"""Background of legends and captions."""

BORDER: Color = (160, 160, 160)
"""Edge of the fields of colour in a legend."""

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


def class_name(labels: LabelSet, class_id: int) -> str:
    """Return the name of a class as it is drawn; its number if the font lacks the letters."""
    return drawable(labels.names[class_id], f'class {class_id}')


def class_color(labels: LabelSet, class_id: int) -> Color:
    """Return the RGB colour of a class as a tuple, which OpenCV needs."""
    red, green, blue = labels.colors[class_id].tolist()
    return red, green, blue


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


def draw_legend(labels: LabelSet, class_ids: Iterable[int], width: int, style: TextStyle) -> Rgb:
    """Return a legend: a field of colour and a name for each class.

    Args:
        labels: names and colours.
        class_ids: the classes, in order.
        width: largest width, px.
        style: size of the text.

    Returns:
        (h, w, 3) RGB, as narrow as the entries allow; (0, 0, 3) without entries.
    """
    return _legend(_entries(labels, class_ids), width, style)


def fit_legend(
    labels: LabelSet, class_ids: Sequence[int], width: int, style: TextStyle, max_height: int
) -> Rgb:
    """Return a legend that is not higher than `max_height`, px, if need be without some classes.

    Args:
        labels: names and colours.
        class_ids: the classes, the most important first; the legend orders them by number.
        width: largest width, px.
        style: size of the text.
        max_height: largest height, px.

    Returns:
        (h, w, 3) RGB; a last entry counts the classes that are left out. (0, 0, 3) if there is
        no room at all.
    """

    def of(count: int) -> tuple[tuple[tuple[str, Color], ...], int]:
        return _entries(labels, sorted(class_ids[:count])), len(class_ids) - count

    def height(count: int) -> int:
        entries, left_out = of(count)
        return _lay_out(_texts(entries, left_out, width, style), width, style)[1]

    shown = len(class_ids)
    if height(shown) > max_height:  # fewer need less height
        shown = bisect_right(range(1, shown), max_height, key=height)
    entries, left_out = of(shown)
    return _legend(entries, width, style, left_out if shown else 0)


def _entries(labels: LabelSet, class_ids: Iterable[int]) -> tuple[tuple[str, Color], ...]:
    return tuple((class_name(labels, i), class_color(labels, i)) for i in class_ids)


def _texts(
    entries: Sequence[tuple[str, Color]], left_out: int, width: int, style: TextStyle
) -> list[str]:
    """Return the texts of a legend, each short enough for a line."""
    texts = [name for name, _ in entries] + ([f'+ {left_out} more'] if left_out else [])
    return [shorten(text, width - _swatch(style) - style.pad, style) for text in texts]


def _lay_out(
    texts: Sequence[str], width: int, style: TextStyle
) -> tuple[list[tuple[int, int]], int]:
    """Return the corner of each entry, set like the words of a text, and the legend's height."""
    x, y, places = 0, 0, []
    for text in texts:
        step = style.pad + _swatch(style) + box_width(text, style)
        if x and x + step > width:
            x, y = 0, y + style.line_px
        places.append((x + style.pad, y))
        x += step
    return places, y + style.line_px if texts else 0


def _swatch(style: TextStyle) -> int:
    """Return the width of a field of colour, px."""
    return 2 * style.height_px


@lru_cache(maxsize=256)
def _legend(
    entries: tuple[tuple[str, Color], ...], width: int, style: TextStyle, left_out: int = 0
) -> Rgb:
    """Return a legend, read-only: successive images have the same."""
    texts, swatch = _texts(entries, left_out, width, style), _swatch(style)
    places, height = _lay_out(texts, width, style)
    ends = [x + swatch + box_width(t, style) for t, (x, _) in zip(texts, places, strict=True)]
    legend = np.full((height, max(ends, default=0), 3), DARK, np.uint8)
    for i, (text, (x, y)) in enumerate(zip(texts, places, strict=True)):
        if i < len(entries):
            field = legend[y + style.pad : y + style.line_px - style.pad, x : x + swatch]
            field[:] = BORDER  # so that dark colours stand out too
            field[1:-1, 1:-1] = entries[i][1]
        draw_text(legend, text, (x + swatch, y), style)
    legend.flags.writeable = False
    return legend
