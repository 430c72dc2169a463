# SPDX-License-Identifier: Apache-2.0
"""Frames at the resolution of the image, whose numbers count pixels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from panoptic_ros.core.extent import extent_of
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.labels import LabelSet


def make_frame(
    ids: npt.NDArray[Any],
    classes: Mapping[int, int],
    labels: LabelSet,
    score: npt.ArrayLike = 1.0,
    track_id: npt.ArrayLike = 0,
) -> PanopticFrame:
    """Make a frame at the resolution of the image; its segments are numbered from 1.

    Args:
        ids: (H, W) segment id, 0 = void.
        classes: class id of each of the S segments; segments without a pixel are left out.
        labels: the classes.
        score: one value for all segments, or (S,).
        track_id: one value for all segments, or (S,).
    """
    place = np.zeros(max(classes, default=0) + 1, np.int32)
    place[list(classes)] = np.arange(1, len(classes) + 1)
    area = np.bincount(place[ids].ravel(), minlength=len(classes) + 1)[1:]
    kept = area > 0
    segment_map = np.append(0, np.where(kept, np.cumsum(kept), 0))[place][ids].astype(np.uint16)
    rows = np.zeros(len(classes), segment_dtype(0))
    rows['class_id'] = list(classes.values())
    rows['is_thing'] = labels.is_thing[rows['class_id']]
    rows['score'], rows['track_id'], rows['area'] = score, track_id, area
    rows = rows[kept]
    rows['segment_id'] = np.arange(1, len(rows) + 1)
    for name in 'xyz':
        rows[name] = np.nan
    for row, (y, x) in zip(rows, ndimage.find_objects(segment_map.astype(np.int32)), strict=True):
        mask = segment_map[y, x] == row['segment_id']
        extent = extent_of(mask, int(row['area']))
        row['bbox_x'], row['bbox_w'] = x.start, x.stop - x.start
        row['bbox_y'], row['bbox_h'] = y.start, y.stop - y.start
        row['u'], row['v'] = np.add(extent.centroid, (x.start, y.start))
    size = segment_map.shape[0], segment_map.shape[1]
    return PanopticFrame(segment_map, rows, Geometry(size, size, 1), stamp_s=0)


def at_camera(frame: PanopticFrame, labels: LabelSet) -> PanopticFrame:
    """Return a model's frame as it would be read back from disk.

    So the scores do not depend on whether a prediction was stored.
    """
    rows = frame.segments
    rows = rows[np.isin(rows['segment_id'], frame.segment_map)]  # without coasting tracks
    return make_frame(
        frame.geometry.to_camera(frame.segment_map),
        replace(frame, segments=rows).class_of_segment,
        labels,
        rows['score'],
        rows['track_id'],
    )
