# SPDX-License-Identifier: Apache-2.0
"""Decoding of Q queries, each with a class and a mask, into segments.

This is the transformers library's `post_process_panoptic_segmentation` (its `compute_segments`) as
tensor code with fixed shapes. One difference is deliberate: except for EoMT, the library continues
its count of segments from the id of a stuff segment that it has extended, so that the next segment
can receive an id in use and merge with that segment. Here each segment keeps its own row.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.parts.segments import measure, to_segments, valid_rows


class QueryMaps(NamedTuple):
    """Predictions of the network for its Q queries."""

    class_logits: Tensor
    """(B, Q, C + 1); the last class is `nothing`."""

    mask_logits: Tensor
    """(B, Q, h, w)"""

    embedding: Tensor
    """(B, Q, D) of the last decoder layer."""


def decode(
    class_logits: Tensor,
    mask_prob: Tensor,
    embedding: Tensor,
    is_thing: Tensor,
    stride: int,
    weigh_own_mask: bool,
    thresholds: Mapping[str, Tensor],
    class_of_logit: Tensor | None = None,
) -> SegmentTensors:
    """Compute segments; queries of one stuff class become one segment.

    Args:
        class_logits: (Q, C + 1); the last class is `nothing`. Another number L of logits needs
            `class_of_logit`.
        mask_prob: (Q, h, w) in 0 to 1.
        embedding: (Q, D).
        is_thing: (C,) bool.
        stride: input pixels per cell.
        weigh_own_mask: whether a query's own mask is where the product of mask and class
            probability reaches the threshold. Otherwise (EoMT) the mask probability decides
            alone, and cells that a query wins outside its own mask are void.
        thresholds: scalars by name.
        class_of_logit: class of each logit, C for `nothing`, (L,).
    """
    queries, height, width = mask_prob.shape
    num_classes = is_thing.shape[0]
    score, label = class_logits.softmax(dim=-1).max(dim=-1)  # (Q,)
    if class_of_logit is not None:  # else, a class's logit has its index
        label = class_of_logit.index_select(0, label)
    candidate = (label != num_classes) & (score > thresholds['score_threshold'])
    prob = mask_prob.flatten(1)  # (Q, N)
    weighted = prob * score[:, None]
    # Queries come last: engines compute ArgMax much faster along a contiguous axis.
    best, winner = torch.where(candidate[:, None], weighted, -1.0).T.max(dim=1)  # (N,)
    winner = torch.where(best >= 0, winner, queries)

    own = (weighted if weigh_own_mask else prob) >= thresholds['mask_threshold']
    number = torch.arange(queries, device=score.device)
    won = (winner[None] == number[:, None]).to(torch.float32).sum(dim=1)  # (Q,)
    own_area = own.to(torch.float32).sum(dim=1)
    exists = (
        candidate & (won > 0) & (own_area > 0) & (won > thresholds['overlap_threshold'] * own_area)
    )
    class_of_query = label.clamp(max=num_classes - 1)
    thing = is_thing.index_select(0, class_of_query)
    row_of_query = torch.where(exists, torch.where(thing, number, queries + class_of_query) + 1, 0)
    row = F.pad(row_of_query, (0, 1)).index_select(0, winner)
    if not weigh_own_mask:  # a query keeps only cells of its own mask
        inside = prob.gather(0, winner.clamp(max=queries - 1)[None])[0]
        row = torch.where(inside >= thresholds['mask_threshold'], row, 0)
    row_map = row.view(height, width).to(torch.int32)

    # A stuff class has the score and the embedding of its first query.
    classes = torch.arange(num_classes, device=score.device)
    of_class = exists[:, None] & (class_of_query[:, None] == classes)  # (Q, C)
    first = torch.where(of_class, number[:, None], queries - 1).amin(dim=0)  # (C,)
    source = torch.cat([number, first])
    measures = measure(row_map, queries + num_classes, best.view(height, width))
    return to_segments(
        row_map,
        measures,
        valid=valid_rows(measures, exists, is_thing, stride, thresholds),
        class_id=torch.cat([class_of_query, classes]),
        score=score.index_select(0, source),
        embedding=embedding.index_select(0, source),
        confidence=best.view(height, width),
    )
