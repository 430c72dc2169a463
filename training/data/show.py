# SPDX-License-Identifier: Apache-2.0
"""Contact sheet of labelled images."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.captions import draw_caption, drawable, shorten, style_for
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.core.legend import draw_legend
from panoptic_ros.core.overlay import draw_overlay

from .check import name_of_sample
from .sample import Reader, Sample

COLUMNS = 4
TILE = (320, 440)
"""(height, width) that an image is fitted into, px."""

STYLE = style_for(*TILE)
"""Size of the text."""


def contact_sheet(
    reader: Reader, indices: list[int], own_colors: bool = False
) -> npt.NDArray[np.uint8]:
    """Draw images with their labels as an overlay, their names, and a legend of the classes.

    Void pixels have no overlay.

    Args:
        reader: of the images.
        indices: which of them.
        own_colors: see `LabelSet.own_colors`.

    Returns:
        (H, W, 3) RGB.
    """
    labels = replace(reader.labels, own_colors=own_colors)
    samples = [reader.read(index, 0) for index in indices]
    tiles = [
        _tile(sample, labels, bool(reader.clips), name_of_sample(reader, index))
        for sample, index in zip(samples, indices, strict=True)
    ]
    columns = min(COLUMNS, len(tiles))
    rows = []
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        height = max(tile.shape[0] for tile in row)
        row += [np.zeros((0, TILE[1], 3), np.uint8)] * (columns - len(row))
        rows.append(
            np.hstack([np.pad(tile, ((0, height - len(tile)), (0, 0), (0, 0))) for tile in row])
        )
    present: set[int] = set().union(*(np.unique(sample.class_map).tolist() for sample in samples))
    legend = draw_legend(labels, sorted(present - {VOID_ID}), columns * TILE[1], STYLE)
    rows.append(np.pad(legend, ((0, 0), (0, columns * TILE[1] - legend.shape[1]), (0, 0))))
    return np.vstack(rows)


def _tile(sample: Sample, labels: LabelSet, tracks: bool, name: str) -> npt.NDArray[np.uint8]:
    height, width = sample.class_map.shape
    scale = min(TILE[0] / height, TILE[1] / width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # The image is scaled first, so that lines and letters have one size on the sheet.
    y, x = ((np.arange(n) * old // n) for n, old in zip(size, (height, width), strict=True))
    class_map, instance_map = (of[y[:, None], x] for of in (sample.class_map, sample.instance_map))
    image = np.asarray(cv2.resize(sample.image, size[::-1], interpolation=cv2.INTER_AREA))
    painted = draw_overlay(
        CameraImage(image, 'rgb'),
        frame_of_labels(class_map, instance_map, labels, tracks),
        labels,
        legend=False,
    )
    painted = np.pad(painted, ((0, 0), (0, TILE[1] - size[1]), (0, 0)))
    name = shorten(drawable(name), TILE[1], STYLE, keep_end=True)
    return np.vstack([painted, draw_caption(name, TILE[1], STYLE)])
