# SPDX-License-Identifier: Apache-2.0
"""Region proposals: anchors of a pyramid, and selection of an RPN's best boxes.

Ren et al., Faster R-CNN, NeurIPS 2015; with a pyramid: Lin et al., Feature Pyramid Networks,
CVPR 2017. Shapes are fixed, so that training and the exported graph share the code.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.nms import greedy_keep, pairwise_iou

RPN_IOU = 0.7
"""IoU above which the worse of two proposals of a level is removed."""

RPN_ROUNDS = 64
"""Rounds of suppression; longer chains of boxes do not occur."""

MIN_SIDE = 1.0
"""Least side of a proposal, px."""

ANCHOR_CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""Conversion between boxes and an RPN's outputs."""


def make_anchors(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    scale: float,
    ratios: Sequence[float],
    device: torch.device,
) -> list[Tensor]:
    """Create the anchors of each level, centred on the cells.

    Args:
        sizes: (h, w) of each level, cells.
        strides: px per cell of each level.
        scale: square root of an anchor's area, cells.
        ratios: height divided by width.
        device: device of the result.

    Returns:
        (h * w * A, 4) x1, y1, x2, y2 in px for each level; ratios run fastest.
    """
    ratio = torch.tensor(ratios, device=device)
    half = torch.stack([1 / ratio.sqrt(), ratio.sqrt()], dim=1) * (scale / 2)  # (A, 2) x, y
    shape = torch.cat([-half, half], dim=1)  # (A, 4)
    anchors = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(
            torch.arange(height, device=device) + 0.5,
            torch.arange(width, device=device) + 0.5,
            indexing='ij',
        )
        centre = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
        anchors.append(((centre + shape) * stride).view(-1, 4))
    return anchors


def by_anchor(maps: Sequence[Tensor], values: int) -> list[Tensor]:
    """Reorder maps (B, A * values, h, w) to (B, h * w * A, values), in the anchors' order."""
    return [m.unflatten(1, (-1, values)).permute(0, 3, 4, 1, 2).flatten(1, 3) for m in maps]


def propose(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_size: tuple[int, int],
    per_level: int,
    total: int,
) -> tuple[Tensor, Tensor]:
    """Select the best boxes of one image.

    Args:
        logits: objectness of each level, (n,).
        deltas: of each level, (n, 4).
        anchors: of each level, (n, 4) px.
        image_size: (height, width), px.
        per_level: most boxes of a level before suppression.
        total: P, most boxes of all levels.

    Returns:
        Boxes (P, 4) px within the image, best first, and their logits (P,), NEVER in rows
        without a proposal. P is smaller if the levels have fewer anchors.
    """
    count = min(per_level, max(len(level) for level in logits))
    boxes, scores = [], []
    for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
        best, index = logit.topk(min(count, len(logit)))
        # Boxes take the type of their deltas; half precision is too coarse for pixels.
        box = ANCHOR_CODER.decode_single(
            delta.index_select(0, index).to(torch.float32), anchor.index_select(0, index)
        )
        missing = count - best.shape[0]
        boxes.append(F.pad(clip(box, image_size), (0, 0, 0, missing)))
        scores.append(F.pad(best, (0, missing), value=NEVER))
    box, score = torch.stack(boxes), torch.stack(scores)  # (L, count, 4), (L, count)
    side = (box[..., 2:] - box[..., :2]).amin(dim=-1)
    keep = greedy_keep(
        pairwise_iou(box) > RPN_IOU, (side >= MIN_SIDE) & (score > NEVER / 2), RPN_ROUNDS
    )
    score = torch.where(keep, score, NEVER).flatten()
    best, index = score.topk(min(total, score.shape[0]))
    return box.flatten(0, 1).index_select(0, index), best


def clip(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Clip boxes (..., 4) to the image."""
    height, width = image_size
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return torch.stack(
        [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], dim=-1
    )
