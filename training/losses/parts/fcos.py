# SPDX-License-Identifier: Apache-2.0
"""Targets and losses of FCOS (Tian et al., ICCV 2019), with positive locations inside masks.

CIAE (section IV-A) counts a location as positive only if it lies in the mask of an instance;
FCOS does so anywhere in its box. In a panoptic map a location lies in at most one mask, so FCOS's
rule that prefers the smaller of several boxes is not needed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.parts.fcos import STRIDES, locations
from panoptic_ros.models.parts.precision import at_least_float32

from .checks import check_dims
from .instances import find_instances, paint
from .label_maps import by_class
from .processes import mean_over_processes

NO_OBJECT, IGNORED = -1, -2
"""Values of `FCOSTargets.channel` where a location has no object, or does not count."""


class FCOSTargets(NamedTuple):
    """Targets of the detector at the L locations of all levels, level by level."""

    channel: Tensor
    """Class of the detector, NO_OBJECT, or IGNORED on crowd, (B, L) int64."""

    box: Tensor
    """Distances (left, top, right, bottom) to the sides of the instance's box, px, (B, L, 4). Only
    defined at locations with an object."""

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
    """Make the targets from panoptic labels.

    Void counts as no object: a location is positive only inside a mask, and padding, which is void
    too, must not be detected as a thing. Crowd is ignored (inferred).

    Args:
        class_map: at image resolution, VOID_ID for void, (B, H, W) int64.
        instance_map: 1 and up on things, else 0, (B, H, W) int64. A thing class with 0 is crowd.
        channel_of_class: class of the detector for each class, -1 for stuff, (C,) int64.
        sizes: (height, width) of each level.
        limits: largest distance to a side, px, that each level except the last predicts.

    Raises:
        ValueError: if the shapes of the maps differ, or the number of sizes or limits is wrong.
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
    )  # row in `boxes`, 0 for none
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
        location = locations(rows, columns, stride, device)  # (n, 2)
        x, y = location[:, 0].clamp(max=width - 1), location[:, 1].clamp(max=height - 1)
        # Coarse levels reach beyond the image.
        in_image = (location[:, 0] < width) & (location[:, 1] < height)
        row = row_map[:, y, x] * in_image  # (B, n)
        x1y1, x2y2 = boxes[row].split(2, dim=2)
        side = torch.cat([location - x1y1, x2y2 - location], dim=2)  # (B, n, 4)
        least = limits[level - 1] if level else 0.0
        most = limits[level] if level < len(limits) else float('inf')
        farthest = side.amax(dim=2)
        positive = (row > 0) & (farthest > least) & (farthest <= most)
        channel = by_class(channel_of_class, class_map[:, y, x], NO_OBJECT)
        crowd = (channel >= 0) & (row == 0) & in_image
        channels.append(torch.where(positive, channel, torch.where(crowd, IGNORED, NO_OBJECT)))
        sides.append(side)
    return FCOSTargets(torch.cat(channels, dim=1), torch.cat(sides, dim=1))


def centerness(box: Tensor) -> Tensor:
    """Compute how central a location is in its box (FCOS, equation 3).

    centerness = sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))

    Args:
        box: distances (left, top, right, bottom) to the sides, at least 0, (..., 4).

    Returns:
        Values in [0, 1], (...).

    Example:
        >>> centerness(torch.tensor([2.0, 3.0, 2.0, 3.0]))  # the centre of a box of 4 x 6
        tensor(1.)
    """
    first, second = box[..., :2], box[..., 2:]
    ratio = torch.minimum(first, second) / torch.maximum(first, second).clamp(min=1e-6)
    return ratio.prod(dim=-1).sqrt()


def iou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Compute -log IoU of two boxes given by distances from the same location (UnitBox, 2016).

    Args:
        pred: distances (left, top, right, bottom), above 0, (N, 4).
        target: same, at least 0.

    Returns:
        (N,)
    """
    check_dims('iou_loss', 'pred (N, 4) and target (N, 4)', pred, target)
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
    """Compute the three losses of the detector.

    Half-precision predictions are converted to float32.

    Args:
        class_logits: (B, L, channels).
        box: distances (left, top, right, bottom), px, (B, L, 4).
        centerness_logits: (B, L).
        targets: targets of the same locations.
        alpha: weight of objects in the focal loss.
        gamma: exponent of the focal loss.

    Returns:
        `class`: focal loss summed over the locations that are not ignored, divided by the number
        of object locations; `box`: mean IoU loss, weighted by the centre-ness; `centerness`: mean
        binary cross-entropy over object locations. The divisors are means over all processes.
        Without an object, the last two are 0 with zero gradient.

    Raises:
        ValueError: if the shapes do not fit together.
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

        target_box = targets.box[positive].to(box.dtype)
        weight = centerness(target_box)
        total = mean_over_processes(weight.sum()).clamp(min=1e-6)
        return {
            'class': (focal * counts).sum() / count,
            'box': (iou_loss(box[positive], target_box) * weight).sum() / total,
            'centerness': F.binary_cross_entropy_with_logits(
                centerness_logits[positive], weight, reduction='sum'
            )
            / count,
        }
