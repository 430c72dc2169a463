# SPDX-License-Identifier: Apache-2.0
"""Targets and losses of FCOS (Tian et al., ICCV 2019), with positives inside masks.

CIAE (section IV-A) counts a location as positive only if it lies in the mask of an instance, and
not, as FCOS does, anywhere in its box. In a panoptic map a location lies in one mask at most, so
FCOS's rule that the smaller of several boxes wins has nothing to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.parts.fcos import STRIDES, locations
from panoptic_ros.models.parts.precision import at_least_float32

from .instances import find_instances, paint
from .label_maps import by_class
from .processes import mean_over_processes

NO_OBJECT, IGNORED = -1, -2


class FCOSTargets(NamedTuple):
    """What the detector should answer at the L locations of all levels, level after level."""

    channel: Tensor
    """Detector's class, NO_OBJECT, or IGNORED on crowd, (B, L) int64."""

    box: Tensor
    """Distances (left, top, right, bottom) to the instance's box, px, where there is an object,
    (B, L, 4)."""

    @property
    def positive(self) -> Tensor:
        """Locations with an object, (B, L) bool."""
        return self.channel >= 0


def fcos_targets(
    class_map: Tensor,
    instance_map: Tensor,
    channel_of_class: Tensor,
    sizes: Sequence[tuple[int, int]],
    limits: Sequence[float],
) -> FCOSTargets:
    """Targets from panoptic labels.

    Void is no object: a location is positive only inside a mask, and padding, which is void too,
    must not be taken for things. Crowd is left out (inferred).

    Args:
        class_map: at image resolution, VOID_ID for void, (B, H, W) int64.
        instance_map: 1 and up on things, else 0, (B, H, W) int64. A thing class with 0 is crowd.
        channel_of_class: detector's class of each class, -1 for stuff, (C,) int64.
        sizes: (height, width) of each level.
        limits: greatest distance to a side, px, that each level but the last answers for.

    Raises:
        ValueError: if the maps' shapes differ or the limits do not fit the levels.
    """
    if class_map.ndim != 3 or class_map.shape != instance_map.shape:
        raise ValueError(
            'fcos_targets expects class_map and instance_map (B, H, W), got '
            f'{tuple(class_map.shape)} and {tuple(instance_map.shape)}'
        )
    if len(sizes) != len(STRIDES) or len(limits) != len(STRIDES) - 1:
        raise ValueError(
            f'fcos_targets expects {len(STRIDES)} sizes and {len(STRIDES) - 1} '
            f'limits, got {len(sizes)} and {len(limits)}'
        )
    device = class_map.device
    instances = find_instances(instance_map.masked_fill(class_map == VOID_ID, 0))
    row_map = paint(
        torch.arange(1, len(instances) + 1, device=device), instances, class_map.shape
    )  # row of `boxes` plus 1
    boxes = torch.tensor(
        [
            [0.0, 0, 0, 0],
            *(
                [float(n) for n in (i.columns.start, i.rows.start, i.columns.stop, i.rows.stop)]
                for i in instances
            ),
        ],
        device=device,
    )
    height, width = class_map.shape[1:]
    channels, sides = [], []
    for level, ((rows, columns), stride) in enumerate(zip(sizes, STRIDES, strict=True)):
        place = locations(rows, columns, stride, device)  # (n, 2)
        x, y = place[:, 0].clamp(max=width - 1), place[:, 1].clamp(max=height - 1)
        in_image = (place[:, 0] < width) & (place[:, 1] < height)  # coarse levels reach beyond
        row = row_map[:, y, x] * in_image  # (B, n)
        x1y1, x2y2 = boxes[row].split(2, dim=2)
        side = torch.cat([place - x1y1, x2y2 - place], dim=2)  # (B, n, 4)
        least = limits[level - 1] if level else 0.0
        most = limits[level] if level < len(limits) else float('inf')
        farthest = side.amax(dim=2)
        here = (row > 0) & (farthest > least) & (farthest <= most)
        channel = by_class(channel_of_class, class_map[:, y, x], NO_OBJECT)
        crowd = (channel >= 0) & (row == 0) & in_image
        channels.append(torch.where(here, channel, torch.where(crowd, IGNORED, NO_OBJECT)))
        sides.append(side)
    return FCOSTargets(torch.cat(channels, dim=1), torch.cat(sides, dim=1))


def centerness(box: Tensor) -> Tensor:
    """How central a location is in its box: sqrt(min/max(l, r) * min/max(t, b)), 0 to 1.

    Args:
        box: distances (left, top, right, bottom), at least 0, (..., 4).

    Returns:
        (...)
    """
    first, second = box[..., :2], box[..., 2:]
    ratio = torch.minimum(first, second) / torch.maximum(first, second).clamp(min=1e-6)
    return ratio.prod(dim=-1).sqrt()


def iou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """-log IoU of two boxes that are given by distances from one location (UnitBox, 2016).

    Args:
        pred: (left, top, right, bottom), above 0, (N, 4).
        target: at least 0, same shape.

    Returns:
        (N,)
    """
    if pred.shape != target.shape or pred.shape[1:] != (4,):
        raise ValueError(
            'iou_loss expects pred and target (N, 4), got '
            f'{tuple(pred.shape)} and {tuple(target.shape)}'
        )
    common = torch.minimum(pred, target)
    shared = (common[:, 0] + common[:, 2]) * (common[:, 1] + common[:, 3])
    areas = [(box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3]) for box in (pred, target)]
    return torch.log((areas[0] + areas[1] - shared) / shared.clamp(min=1e-6))


def fcos_loss(
    class_logits: Tensor,
    box: Tensor,
    centerness_logits: Tensor,
    targets: FCOSTargets,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> dict[str, Tensor]:
    """The detector's three losses; half precision is taken to float32 first.

    Args:
        class_logits: (B, L, channels).
        box: distances (left, top, right, bottom), px, (B, L, 4).
        centerness_logits: (B, L).
        targets: of the same locations.
        alpha: weight of objects in the focal loss.
        gamma: its exponent.

    Returns:
        `class`: focal loss summed over the locations that count, per object location; `box`: IoU
        loss averaged with the centre-ness as weight; `centerness`: binary cross-entropy averaged
        over object locations. Numbers of locations are those of all processes together. Without
        an object, the last two are 0 with zero gradient.

    Raises:
        ValueError: if a shape does not fit.
    """
    each = targets.channel.shape
    if (
        class_logits.shape[:2] != each
        or box.shape != (*each, 4)
        or centerness_logits.shape != each
    ):
        raise ValueError(
            f'fcos_loss expects class_logits {(*each, "channels")}, box {(*each, 4)} and '
            f'centerness_logits {tuple(each)}, got {tuple(class_logits.shape)}, '
            f'{tuple(box.shape)} and {tuple(centerness_logits.shape)}'
        )
    with torch.autocast(box.device.type, enabled=False):
        class_logits, box, centerness_logits = (
            at_least_float32(x) for x in (class_logits, box, centerness_logits)
        )
        positive = targets.positive
        count = mean_over_processes(positive.sum().to(box.dtype)).clamp(min=1)
        numbers = torch.arange(class_logits.shape[2], device=box.device)
        one_hot = (targets.channel[..., None] == numbers).to(class_logits.dtype)
        focal = sigmoid_focal_loss(class_logits, one_hot, alpha, gamma)
        counts = (targets.channel != IGNORED)[..., None]

        goal = targets.box[positive].to(box.dtype)
        weight = centerness(goal)
        total = mean_over_processes(weight.sum()).clamp(min=1e-6)
        return {
            'class': (focal * counts).sum() / count,
            'box': (iou_loss(box[positive], goal) * weight).sum() / total,
            'centerness': F.binary_cross_entropy_with_logits(
                centerness_logits[positive], weight, reduction='sum'
            )
            / count,
        }
