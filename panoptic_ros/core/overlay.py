# SPDX-License-Identifier: Apache-2.0
"""Overlay of a frame's segments on the camera image, for people."""

import colorsys
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.captions import TextStyle, box_width, draw_text, shorten, style_for
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage, copy_rgb
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.legend import class_color, class_name, fit_legend
from panoptic_ros.core.palette import Color

ALPHA = 0.45
"""Weight of the class colour in a painted pixel."""

GOLDEN_RATIO = 0.618034
"""Hue step from one track id to the next, in turns; near ids get distant hues."""

OUTLINE_PER_HEIGHT = 300
"""Height of the picture over the thickness of an outline."""

LEGEND_PER_HEIGHT = 5
"""Height of the picture over the largest height of its legend."""

NAMED_AREA = 0.01
"""Smallest fraction of the picture for which stuff gets its name."""


class Box(NamedTuple):
    """Rectangle of pixels."""

    x: int
    y: int
    width: int
    height: int

    def overlaps(self, other: 'Box') -> bool:
        """Return whether two rectangles share a pixel."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def draw_overlay(
    image: CameraImage,
    frame: PanopticFrame,
    labels: LabelSet,
    out: npt.NDArray[np.uint8] | None = None,
    *,
    legend: bool = True,
    stuff_names: bool = False,
) -> npt.NDArray[np.uint8]:
    """Paint each segment in its class's colour, and draw each thing's outline and name.

    The outline runs inside the thing along the edges of its cells. Names stand on boxes in the
    class's colour; of names that would overlap, only that of the largest segment is drawn.

    Args:
        image: the image that `frame` was made from.
        frame: its segments. A thing with a track also shows its track id, and its outline has the
            track's colour.
        labels: names and colours by class id.
        out: (H, W, 3) C-contiguous array to paint into; None allocates one.
        legend: whether the lower edge shows the classes that occur.
        stuff_names: whether large segments of stuff have names too.

    Returns:
        `out`, RGB. Void pixels keep the image's colour.

    Raises:
        ValueError: if `out` is not C-contiguous.
    """
    if out is None:
        out = np.empty((*frame.geometry.image_size, 3), np.uint8)
    if not out.flags.c_contiguous:
        raise ValueError('draw_overlay paints into C-contiguous arrays only')
    copy_rgb(image, out)
    cells = np.bincount(frame.segment_map.ravel(), minlength=1)  # by segment id
    ids = frame.segments['segment_id']
    sizes = np.append(cells, 0)[np.minimum(ids, len(cells))]
    # The largest first, without coasting tracks, which have a row and no cells.
    order = np.argsort(-sizes, kind='stable')[: np.count_nonzero(sizes)]
    rows, sizes = frame.segments[order], sizes[order]
    if not len(rows):
        return out
    _paint(out, frame, labels)
    is_thing = rows['is_thing'] == 1
    if is_thing.any():
        _outline(out, frame, rows[is_thing])
    style = style_for(*out.shape[:2])
    bottom = out.shape[0]
    if legend:
        class_ids = list(dict.fromkeys(rows['class_id'].tolist()))
        bottom -= _put_legend(out, class_ids, labels, style)
    is_named = is_thing | (stuff_names and sizes > NAMED_AREA * frame.segment_map.size)
    named = rows[is_named]
    for index, text, box in place_names(frame, named, labels, (bottom, out.shape[1]), style):
        row = named[index]
        border = track_color(int(row['track_id'])) if row['is_thing'] else None
        draw_text(out, text, box[:2], style, class_color(labels, int(row['class_id'])), border)
    return out


def track_color(track_id: int) -> Color:
    """Return the RGB colour of a track, light and saturated; white for 0 (no track)."""
    if track_id == 0:
        return 255, 255, 255
    red, green, blue = colorsys.hsv_to_rgb(track_id * GOLDEN_RATIO % 1, 0.6, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def _paint(out: npt.NDArray[np.uint8], frame: PanopticFrame, labels: LabelSet) -> None:
    """Mix the image with the colours of the classes."""
    colors = frame.paint(labels.colors[frame.segments['class_id']], 0)  # (h, w, 3)
    painted = frame.geometry.to_camera(colors)  # (H, W, 3)
    void = frame.segment_map == 0
    if void.any():
        cv2.copyTo(out, frame.geometry.to_camera(void.view(np.uint8)), painted)
    cv2.addWeighted(out, 1 - ALPHA, painted, ALPHA, 0, dst=out)


def _outline(
    out: npt.NDArray[np.uint8], frame: PanopticFrame, things: npt.NDArray[np.void]
) -> None:
    """Draw the outlines of things: their pixels that are close to a pixel of something else."""
    ids = frame.segments['segment_id']
    is_drawn = np.isin(ids, things['segment_id'])
    # Numbers from 1 in few bits: filters are faster on bytes.
    dtype = np.uint8 if len(things) < 256 else np.uint16
    numbers = np.where(is_drawn, np.cumsum(is_drawn), 0).astype(dtype)
    number_map = frame.geometry.to_camera(frame.paint(numbers, 0))  # (H, W)
    side = 2 * max(1, round(out.shape[0] / OUTLINE_PER_HEIGHT)) + 1
    kernel = np.ones((side, side), np.uint8)
    # There is no thing beyond the picture's edge, so that all outlines are closed.
    border = {'borderType': cv2.BORDER_CONSTANT, 'borderValue': 0}
    least, most = cv2.erode(number_map, kernel, **border), cv2.dilate(number_map, kernel, **border)
    places = np.flatnonzero((least != most) & (number_map > 0))
    tracks = frame.segments['track_id'][is_drawn].tolist()
    colors = np.array([(0, 0, 0), *map(track_color, tracks)], np.uint8)
    # Writing to places of a flat view takes a fifth of the time of a mask.
    out.reshape(-1, 3)[places] = colors[number_map.ravel()[places]]


def _put_legend(
    out: npt.NDArray[np.uint8], class_ids: list[int], labels: LabelSet, style: TextStyle
) -> int:
    """Put a legend into the lower left corner and return its height, px."""
    height, width = out.shape[:2]
    strip = fit_legend(labels, class_ids, width, style, height // LEGEND_PER_HEIGHT)
    if len(strip):
        out[-len(strip) :, : strip.shape[1]] = strip
    return len(strip)


def place_names(
    frame: PanopticFrame,
    rows: npt.NDArray[np.void],
    labels: LabelSet,
    size: tuple[int, int],
    style: TextStyle,
) -> list[tuple[int, str, Box]]:
    """Place the names of segments so that none overlap and all lie in the picture.

    Args:
        frame: the frame.
        rows: its segments with names, the most important first: later names give way.
        labels: names by class id.
        size: (height, width) of the part of the picture that names may cover, px.
        style: size of the text.

    Returns:
        (index in `rows`, text, its box) of each name with room, above a thing or in stuff.
    """
    height, width = size
    placed: list[tuple[int, str, Box]] = []
    for index, row in enumerate(rows):
        track_id = int(row['track_id'])
        text = class_name(labels, int(row['class_id'])) + (f' #{track_id}' if track_id else '')
        text = shorten(text, width, style)
        box = Box(0, 0, box_width(text, style), style.line_px)
        x, y = _above(row, box) if row['is_thing'] else _inside(frame, row, box)
        box = box._replace(
            x=min(max(x, 0), width - box.width), y=min(max(y, 0), height - box.height)
        )
        is_inside = box.x >= 0 and box.y >= 0
        if is_inside and not any(box.overlaps(other) for _, _, other in placed):
            placed.append((index, text, box))
    return placed


def _above(row: np.void, box: Box) -> tuple[int, int]:
    """Return the corner of the name of a thing."""
    return int(row['bbox_x']), int(row['bbox_y']) - box.height


def _inside(frame: PanopticFrame, row: np.void, box: Box) -> tuple[int, int]:
    """Return the corner of a name whose middle is as far as possible from the segment's edge."""
    mask = np.pad((frame.segment_map == row['segment_id']).view(np.uint8), 1)
    depth = cv2.distanceTransform(mask, cv2.DIST_L1, 3)[1:-1, 1:-1]
    cell = np.array(np.unravel_index(depth.argmax(), depth.shape))
    y, x = ((cell + 0.5) * frame.geometry.px_per_cell).astype(int)
    return int(x) - box.width // 2, int(y) - box.height // 2
