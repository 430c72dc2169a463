# SPDX-License-Identifier: Apache-2.0
"""Names and colours of classes as pictures show them, and legends of them."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from panoptic_ros.core.captions import (
    DARK,
    Rgb,
    TextStyle,
    box_width,
    draw_text,
    drawable,
    shorten,
)
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.palette import Color

BORDER: Color = (160, 160, 160)
"""Edge of the fields of colour in a legend."""


def class_name(labels: LabelSet, class_id: int) -> str:
    """Return the name of a class as it is drawn; its number if the font lacks the letters."""
    return drawable(labels.names[class_id], f'class {class_id}')


def class_color(labels: LabelSet, class_id: int) -> Color:
    """Return the RGB colour of a class as a tuple, which OpenCV needs."""
    red, green, blue = labels.colors[class_id].tolist()
    return red, green, blue


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
    legend = _legend(entries, width, style, left_out if shown else 0)
    # A picture can be narrower than a field of colour.
    return legend if legend.shape[1] <= width else legend[:0, :0]


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
