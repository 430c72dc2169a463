# SPDX-License-Identifier: Apache-2.0
"""Instances of networks that come as ONNX files: from their outputs to boxes and masks.

The layouts are public: https://docs.ultralytics.com/guides/end2end-detection (YOLO),
https://github.com/ultralytics/yolov5/issues/9746 (YOLOv5) and
https://github.com/roboflow/rf-detr/issues/386 (RF-DETR).
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.mask_rcnn.masks import between
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections
from panoptic_ros.models.parts.nms import keep_boxes


class Candidates(NamedTuple):
    """Boxes that may be instances, in any order."""

    box: Tensor
    """x1, y1, x2, y2 in px, (N, 4)."""

    channel: Tensor
    """Channel of the best class, (N,) integer, possibly outside the network's classes."""

    score: Tensor
    """(N,), 0 to 1."""

    coefficients: Tensor | None
    """Weight of each prototype in the box's mask, (N, M); None if each box has its own mask."""

    maps: Tensor
    """Prototypes, (M, h, w), or the logits of each box's own mask, (N, h, w)."""


def read_candidates(
    layout: str, outputs: tuple[Tensor, ...], channels: int, image_size: tuple[int, int]
) -> Candidates:
    """Read a network's outputs.

    Args:
        layout: one of `config.INSTANCE_LAYOUTS`. `yolo` has boxes (centre and sides in px), C
            class probabilities and M coefficients, (1, 4 + C + M, N), and prototypes
            (1, M, h, w). `yolov5` has an objectness after the box, (1, N, 5 + C + M).
            `yolo-end2end` has corners in px, score and channel, (1, N, 6 + M). `rf-detr` has
            boxes (centre and sides in parts of the image) (1, N, 4), class logits (1, N, C) and
            the logits of each box's mask (1, N, h, w).
        outputs: in this order.
        channels: C.
        image_size: (height, width) of the network's input, px.
    """
    if layout == 'rf-detr':
        box, logits, masks = (output[0] for output in outputs)
        score, channel = logits.sigmoid().max(dim=1)
        height, width = image_size
        sides = box.new_tensor([width, height, width, height])
        return Candidates(_corners(box * sides), channel, score, None, masks)
    rows, prototypes = outputs[0][0], outputs[1][0]
    if layout == 'yolo-end2end':
        box, score, channel, coefficients = rows.split([4, 1, 1, rows.shape[1] - 6], dim=1)
        return Candidates(
            box, channel.squeeze(1).to(torch.int64), score.squeeze(1), coefficients, prototypes
        )
    count = prototypes.shape[0]
    if layout == 'yolov5':
        box, objectness, prob, coefficients = rows.split([4, 1, channels, count], dim=1)
        score, channel = (prob * objectness).max(dim=1)
    else:
        box, prob, coefficients = rows.T.split([4, channels, count], dim=1)
        score, channel = prob.max(dim=1)
    return Candidates(_corners(box), channel, score, coefficients, prototypes)


def _corners(box: Tensor) -> Tensor:
    """Return x1, y1, x2, y2 of boxes of centre x, y and width, height, (N, 4)."""
    centre, half = box.split(2, dim=1)[0], box.split(2, dim=1)[1] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def select(
    found: Candidates,
    class_of_channel: Tensor,
    most: int,
    top_k: int,
    thresholds: Mapping[str, Tensor],
) -> tuple[Detections, Tensor]:
    """Select the instances of an image.

    Args:
        found: N candidates.
        class_of_channel: class id of each channel, -1 for one that is ignored, (C,) integer.
        most: candidates that enter suppression, those of the highest scores.
        top_k: most instances.
        thresholds: `score_threshold`, and `nms_threshold` where boxes are suppressed.

    Returns:
        K instances, whose `thing` is the class id, and the logits of their masks, (K, h, w).
    """
    channels = class_of_channel.shape[0]
    box = found.box
    side = (box[:, 2:] - box[:, :2]).amin(dim=1)
    known = (found.channel >= 0) & (found.channel < channels)
    class_id = class_of_channel.index_select(0, found.channel.clamp(0, channels - 1))
    exists = known & (class_id >= 0) & (side > 0) & (found.score > thresholds['score_threshold'])
    score, index = torch.where(exists, found.score, 0.0).topk(min(most, box.shape[0]))
    if 'nms_threshold' in thresholds:
        keep = keep_boxes(
            box.index_select(0, index),
            class_id.index_select(0, index),
            score > 0,
            thresholds['nms_threshold'],
        )
        score = torch.where(keep, score, 0.0)
    score, place = score.topk(min(top_k, score.shape[0]))
    index = index.index_select(0, place)
    if found.coefficients is None:
        masks = found.maps.index_select(0, index)
    else:
        weights = found.coefficients.index_select(0, index)
        masks = (weights @ found.maps.flatten(1)).unflatten(1, found.maps.shape[1:])
    chosen = Detections(
        box.index_select(0, index),
        class_id.index_select(0, index),
        score.clamp(max=1),
        score.new_zeros(score.shape[0], 0),
        score > 0,
    )
    return chosen, masks


def mask_logits(
    found: Detections, masks: Tensor, stride: int, size: tuple[int, int], cut: bool
) -> Tensor:
    """Scale the masks of instances to cells of a stride.

    Args:
        found: K instances.
        masks: logits, (K, h, w).
        stride: input pixels per cell.
        size: (height, width) of the result, cells.
        cut: whether masks end at their boxes, as those of prototypes do.

    Returns:
        (K, height, width), NEVER where a mask is cut off.
    """
    if tuple(masks.shape[1:]) != size:
        masks = F.interpolate(masks[None], size=list(size), mode='bilinear')[0]
    if cut:  # by two minima, which CPUs compute faster than a choice for each cell
        x1, y1, x2, y2 = (found.box / stride).unbind(dim=1)
        rows, columns = between(y1, y2, size[0]), between(x1, x2, size[1])
        masks = masks.minimum(torch.where(rows, -NEVER, NEVER)[:, :, None])
        masks = masks.minimum(torch.where(columns, -NEVER, NEVER)[:, None, :])
    return masks
