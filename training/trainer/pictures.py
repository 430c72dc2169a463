# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions beside the truth, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID, LabelSet

from ..data.sample import Sample
from ..evaluation.scoring import frame_classes, gt_segments

SHADES = np.array([1.0, 0.7, 0.85, 0.55])
"""Brightness of things by segment id, so that neighbours differ."""


def paint(
    segment_map: npt.NDArray[Any], classes: Mapping[int, int], labels: LabelSet
) -> npt.NDArray[np.uint8]:
    """Colours by class, things in shades with a white edge.

    Args:
        segment_map: (H, W) segment id, 0 = void.
        classes: class id of each segment.
        labels: with the colours.

    Returns:
        (H, W, 3) RGB.
    """
    top = max(classes, default=0) + 1
    class_of = np.full(top, VOID_ID)
    class_of[list(classes)] = list(classes.values())
    is_thing = np.append(labels.is_thing, np.zeros(256 - len(labels), bool))[class_of]
    shade = np.where(is_thing, SHADES[np.arange(top) % len(SHADES)], 1.0)
    picture = (labels.colors[class_of] * shade[:, None]).astype(np.uint8)[segment_map]
    thing = np.where(is_thing[segment_map], segment_map, 0)
    edge = np.zeros(thing.shape, bool)
    edge[1:] |= thing[1:] != thing[:-1]
    edge[:, 1:] |= thing[:, 1:] != thing[:, :-1]
    picture[edge] = 255
    return picture


def panel(sample: Sample, frame: PanopticFrame, labels: LabelSet) -> npt.NDArray[np.uint8]:
    """Image, prediction and ground truth side by side, (H, 3 W, 3) RGB."""
    gt_map, gt_classes, _ = gt_segments(sample, labels.is_thing)
    predicted = paint(frame.geometry.to_camera(frame.segment_map), frame_classes(frame), labels)
    return np.hstack([sample.image, predicted, paint(gt_map, gt_classes, labels)])
