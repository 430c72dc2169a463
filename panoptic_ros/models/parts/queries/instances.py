# SPDX-License-Identifier: Apache-2.0
"""Decoding of queries that are instances only, into instances that do not overlap.

This is the `post_process_instance_segmentation` of RF-DETR's image processor in the transformers
library, as tensor code with fixed shapes. Each pair of a query and a class is a candidate, so that
a query can stand for two classes. Candidates paint their masks in the order of their scores, on
cells that are still free. All other cells are void.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.parts.segments import measure, to_segments


def decode_instances(
    class_logits: Tensor,
    mask_prob: Callable[[Tensor], Tensor],
    embedding: Tensor,
    class_of_logit: Tensor,
    num_classes: int,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> SegmentTensors:
    """Compute instances: row k is the candidate with the k-th highest score, Q rows in all.

    Args:
        class_logits: (Q, L), of independent probabilities.
        mask_prob: gives the masks of some queries, (K,) to (K, h, w) in 0 to 1.
        embedding: (Q, D).
        class_of_logit: class of each logit, `num_classes` for none, (L,).
        num_classes: C.
        stride: input pixels per cell.
        thresholds: scalars by name.
    """
    queries, logits = class_logits.shape
    score, candidate = class_logits.sigmoid().flatten().topk(queries)
    query = torch.div(candidate, logits, rounding_mode='floor')
    label = class_of_logit.index_select(0, candidate - query * logits)
    keep = (score > thresholds['score_threshold']) & (label != num_classes)
    prob = mask_prob(query)
    height, width = prob.shape[1:]
    prob = prob.flatten(1)  # (K, N)
    covers = keep[:, None] & (prob > thresholds['mask_threshold'])
    order = torch.arange(queries, 0, -1, device=score.device)
    # The first candidate of a cell; a maximum of distinct numbers, as engines break ties freely.
    first = queries - torch.where(covers, order[:, None], 0).amax(dim=0)  # (N,)
    row_map = torch.where(first < queries, first + 1, 0).to(torch.int32).view(height, width)
    winner = first.clamp(max=queries - 1)
    confidence = (prob.gather(0, winner[None])[0] * score.index_select(0, winner)).view(
        height, width
    )
    measures = measure(row_map, queries, confidence)
    px = measures.area * stride**2
    return to_segments(
        row_map,
        measures,
        class_id=label.clamp(max=num_classes - 1),
        score=score,
        embedding=embedding.index_select(0, query),
        valid=torch.logical_not(px < thresholds['min_area']) & (px > 0),
        confidence=confidence,
    )
