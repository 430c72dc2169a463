# SPDX-License-Identifier: Apache-2.0
"""Ground truth as a frame, so that it is drawn like a prediction."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.labels import VOID_ID, LabelSet


def frame_of_labels(
    class_map: npt.NDArray[np.uint8],
    instance_map: npt.NDArray[Any],
    labels: LabelSet,
    tracks: bool = False,
) -> PanopticFrame:
    """Return the labels of an image as a frame with one segment per class and instance.

    Args:
        class_map: (H, W) class id, VOID_ID for unlabelled pixels.
        instance_map: (H, W) instance id on things; 0 on stuff, void and crowds. A crowd is drawn
            like stuff.
        labels: the classes.
        tracks: whether instance ids are track ids.
    """
    keys = instance_map.astype(np.int64) << 8 | class_map
    values, place = np.unique(keys, return_inverse=True)
    labelled = values & 255 != VOID_ID
    ids = np.where(labelled, np.cumsum(labelled), 0).astype(np.uint16)
    segment_map = ids[place.reshape(class_map.shape)]
    values = values[labelled]
    rows = np.zeros(len(values), segment_dtype(0))
    rows['segment_id'], rows['class_id'] = ids[labelled], values & 255
    rows['is_thing'] = labels.is_thing[rows['class_id']] & (values >> 8 > 0)
    rows['track_id'] = values >> 8 if tracks else 0
    rows['score'] = 1
    rows['area'] = np.bincount(segment_map.ravel(), minlength=len(rows) + 1)[1:]
    boxes = ndimage.find_objects(segment_map.astype(np.int32), max_label=len(rows))
    for row, (y, x) in zip(rows, boxes, strict=True):
        row['bbox_x'], row['bbox_w'] = x.start, x.stop - x.start
        row['bbox_y'], row['bbox_h'] = y.start, y.stop - y.start
    size = segment_map.shape[0], segment_map.shape[1]
    return PanopticFrame(segment_map, rows, Geometry(size, size, 1), stamp_s=0)
