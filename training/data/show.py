# SPDX-License-Identifier: Apache-2.0
"""Contact sheet of labelled images."""

import math

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.core.overlay import draw_overlay

from .check import name_of_sample
from .convert import segments_of
from .sample import Reader, Sample

COLUMNS = 4
TILE = (320, 440)
"""(height, width) that an image is fitted into, px."""
LINE = 22
"""Height of a line of text, px."""


def frame_of(sample: Sample, labels: LabelSet, tracks: bool = False) -> PanopticFrame:
    """Return the labels of a sample as a frame, as if a model had predicted them.

    Args:
        sample: of any size.
        labels: its classes.
        tracks: whether instance ids are track ids.
    """
    segment_map, infos = segments_of((sample.class_map, sample.instance_map), labels)
    rows = np.zeros(len(infos), segment_dtype(0))
    for info, row, box in zip(infos, rows, ndimage.find_objects(segment_map), strict=True):
        row['segment_id'] = info['id']
        row['class_id'] = labels.class_id_of_category[info['category_id']]
        row['is_thing'] = labels.is_thing[row['class_id']] and not info['iscrowd']
        row['score'], row['area'] = 1, info['area']
        row['bbox_x'], row['bbox_y'], row['bbox_w'], row['bbox_h'] = info['bbox']
        if tracks:
            first = np.argwhere(segment_map[box] == info['id'])[0]
            row['track_id'] = sample.instance_map[box][tuple(first)]
    size = segment_map.shape
    return PanopticFrame(
        segment_map.astype(np.uint16),
        rows,
        Geometry((size[0], size[1]), (size[0], size[1]), 1),
        0.0,
    )


def contact_sheet(reader: Reader, indices: list[int]) -> npt.NDArray[np.uint8]:
    """Draw images with their labels as an overlay, their names, and a legend of the classes.

    Void pixels have no overlay.

    Returns:
        (H, W, 3) RGB.
    """
    samples = [reader.read(index, 0) for index in indices]
    tiles = [
        _tile(sample, reader.labels, bool(reader.clips), name_of_sample(reader, index))
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
    legend = _legend(reader.labels, sorted(present - {VOID_ID}), columns * TILE[1])
    return np.vstack([*rows, legend])


def _tile(sample: Sample, labels: LabelSet, tracks: bool, name: str) -> npt.NDArray[np.uint8]:
    height, width = sample.class_map.shape
    scale = min(TILE[0] / height, TILE[1] / width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # The image is scaled first, so that lines and letters have one size on the sheet.
    y, x = ((np.arange(n) * old // n) for n, old in zip(size, (height, width), strict=True))
    small = Sample(
        np.asarray(cv2.resize(sample.image, size[::-1], interpolation=cv2.INTER_AREA)),
        sample.class_map[y[:, None], x],
        sample.instance_map[y[:, None], x],
    )
    painted = draw_overlay(
        CameraImage(small.image, 'rgb'), frame_of(small, labels, tracks), labels
    )
    painted = np.pad(painted, ((0, 0), (0, TILE[1] - size[1]), (0, 0)))
    caption = np.zeros((LINE, TILE[1], 3), np.uint8)
    cv2.putText(
        caption,
        name[-60:],
        (4, LINE - 7),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.42,
        (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
    return np.vstack([painted, caption])


def _legend(labels: LabelSet, class_ids: list[int], width: int) -> npt.NDArray[np.uint8]:
    step = TILE[1] // 3
    per_line = width // step
    legend = np.zeros((LINE * max(1, math.ceil(len(class_ids) / per_line)), width, 3), np.uint8)
    for place, class_id in enumerate(class_ids):
        x, y = place % per_line * step, place // per_line * LINE
        legend[y + 4 : y + LINE - 4, x + 4 : x + 22] = labels.colors[class_id]
        cv2.putText(
            legend,
            labels.names[class_id][:18],
            (x + 28, y + LINE - 7),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.42,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
    return legend
