# SPDX-License-Identifier: Apache-2.0
"""Second stage of Mask R-CNN: pooling, box head, mask head and selection of detections.

He et al., Mask R-CNN, ICCV 2017.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.backbone import LEVEL_STRIDES
from panoptic_ros.models.parts.mask_rcnn.proposals import clip
from panoptic_ros.models.parts.nms import keep_boxes

SAMPLES = 2
"""Points that RoIAlign averages along each side of a bin."""

CANONICAL_LEVEL = 4
"""Level that boxes of the canonical size are pooled on; P2 is the finest."""

BOX_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""Conversion between boxes and the box head's outputs."""


def pool_fixed(levels: Sequence[Tensor], boxes: Tensor, size: int, canonical: float) -> Tensor:
    """Apply `pool_batch` to one image in fixed shapes.

    It pools each box on all levels and selects the result of the box's own level.

    Args:
        levels: P2 to P5, (1, C, h, w).
        boxes: (R, 4) px.
        size: bins along a side.
        canonical: square root of the area of boxes that are pooled on P4, px.

    Returns:
        (R, C, size, size)
    """
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    root = torch.sqrt(side[:, 0] * side[:, 1])
    rois = F.pad(boxes, (1, 0))
    pooled: Tensor | None = None
    for i, (level, stride) in enumerate(zip(levels, LEVEL_STRIDES, strict=True)):
        values = roi_align(level, rois, (size, size), 1 / stride, SAMPLES)
        # A box takes the last level whose lower limit it reaches. The factor is torchvision's
        # rounding: sizes that are powers of two must not fall below a limit.
        limit = canonical * 2.0 ** (i + 2 - CANONICAL_LEVEL)
        pooled = (
            values
            if pooled is None
            else torch.where((root * (1 + 1e-6) >= limit)[:, None, None, None], values, pooled)
        )
    assert pooled is not None
    return pooled


def pool_batch(
    levels: Sequence[Tensor], boxes: Sequence[Tensor], size: int, canonical: float
) -> Tensor:
    """Apply RoIAlign to the boxes of a batch, each on the level of its size.

    Args:
        levels: P2 to P5, (B, C, h, w).
        boxes: (R, 4) px for each image; R may be 0.
        size: bins along a side.
        canonical: square root of the area of boxes that are pooled on P4, px.

    Returns:
        (sum of R, C, size, size), image by image.
    """
    names = [str(i) for i in range(len(levels))]
    pool = MultiScaleRoIAlign(
        names, size, SAMPLES, canonical_scale=canonical, canonical_level=CANONICAL_LEVEL
    )
    height, width = (n * LEVEL_STRIDES[0] for n in levels[0].shape[2:])
    return pool(dict(zip(names, levels, strict=True)), list(boxes), [(height, width)] * len(boxes))


class BoxOutputs(NamedTuple):
    """Outputs of the box head for R boxes and T thing classes."""

    class_logits: Tensor
    """Background, then the thing classes, (R, 1 + T)."""

    deltas: Tensor
    """Encoded correction of the box for each thing class, (R, T, 4)."""

    embedding: Tensor
    """Features that the class logits are a linear function of, (R, D)."""


class BoxHead(nn.Module):
    """Two fully connected layers, then embedding, classes and boxes.

    The embedding is a linear layer before that of the classes. This bounds the rank of the two
    layers to D, which has no effect as long as D is at least 1 + T.

    Args:
        channels: channels of the pyramid.
        pool: bins along a side.
        width: width of the two layers.
        embedding_dim: D.
        things: T.
    """

    def __init__(
        self, channels: int, pool: int, width: int, embedding_dim: int, things: int
    ) -> None:
        super().__init__()
        self.layers = TwoMLPHead(channels * pool * pool, width)
        self.embedding = nn.Linear(width, embedding_dim)
        self.classes = nn.Linear(embedding_dim, 1 + things)
        self.boxes = nn.Linear(width, 4 * things)
        nn.init.normal_(self.boxes.weight, std=0.001)
        nn.init.zeros_(self.boxes.bias)

    def forward(self, pooled: Tensor) -> BoxOutputs:
        """Compute the outputs of boxes pooled to (R, channels, pool, pool)."""
        features = self.layers(pooled)
        embedding = self.embedding(features)
        return BoxOutputs(
            self.classes(embedding), self.boxes(features).unflatten(1, (-1, 4)), embedding
        )


class MaskHead(nn.Module):
    """3x3 convolutions, 2x upsampling, and a mask for each thing class.

    Args:
        channels: channels of the pyramid.
        widths: channels of the convolutions.
        things: T.
    """

    def __init__(self, channels: int, widths: Sequence[int], things: int) -> None:
        super().__init__()
        self.layers = MaskRCNNHeads(channels, widths, 1)
        self.predictor = MaskRCNNPredictor(widths[-1], widths[-1], things)

    def forward(self, pooled: Tensor) -> Tensor:
        """Compute (R, channels, m / 2, m / 2) -> logits (R, T, m, m)."""
        return self.predictor(self.layers(pooled))


def of_class(values: Tensor, thing: Tensor) -> Tensor:
    """Select the values (R, T, ...) of each row's own thing class (R,)."""
    column = torch.arange(values.shape[1], device=values.device)
    chosen = (thing[:, None] == column).to(values.dtype)  # (R, T)
    return (chosen[:, None] @ values.flatten(2)).view(values.shape[0], *values.shape[2:])


class Detections(NamedTuple):
    """Detections of one image in K rows, best first."""

    box: Tensor
    """x1, y1, x2, y2 in px, (K, 4)."""

    thing: Tensor
    """Number of the thing class, (K,) int64."""

    score: Tensor
    """Probability of the class, (K,)."""

    embedding: Tensor
    """(K, D) unit length."""

    alive: Tensor
    """Rows that hold a detection, (K,) bool."""


def detect(
    boxes: Tensor,
    logits: Tensor,
    outputs: BoxOutputs,
    image_size: tuple[int, int],
    top_k: int,
    score_threshold: Tensor | float,
    nms_threshold: Tensor | float,
    across_classes: bool,
) -> Detections:
    """Select the detections of one image, each proposal with its best thing class.

    With one class per proposal (inferred), suppression needs only as many rows as there are
    proposals; above a score of 1/2 a second class cannot exist anyway.

    Args:
        boxes: proposals, (P, 4) px.
        logits: logits of the proposals, NEVER in rows without one, (P,).
        outputs: outputs of the box head, (P, ...).
        image_size: (height, width), px.
        top_k: K, the number of rows.
        score_threshold: score above which a box is a detection.
        nms_threshold: IoU above which the worse of two boxes is removed.
        across_classes: whether boxes suppress those of other classes.
    """
    prob = outputs.class_logits.softmax(dim=1)[:, 1:]
    score, thing = prob.max(dim=1)
    # Boxes take the type of their deltas, and a half-precision one is too coarse for pixels.
    delta = of_class(outputs.deltas, thing).to(torch.float32)
    box = clip(BOX_CODER.decode_single(delta, boxes), image_size)
    side = (box[:, 2:] - box[:, :2]).amin(dim=1)
    exists = (logits > NEVER / 2) & (score > score_threshold) & (side > 0)

    # All enter suppression, so that many boxes of one object do not displace another object.
    count = boxes.shape[0]
    score, index = torch.where(exists, score, 0.0).topk(count)
    box, thing = box.index_select(0, index), thing.index_select(0, index)
    keep = keep_boxes(box, None if across_classes else thing, score > 0, nms_threshold)
    score, place = torch.where(keep, score, 0.0).topk(min(top_k, count))
    index = index.index_select(0, place)
    return Detections(
        box.index_select(0, place),
        thing.index_select(0, place),
        score,
        F.normalize(outputs.embedding.index_select(0, index), dim=1),
        score > 0,
    )
