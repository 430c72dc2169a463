# SPDX-License-Identifier: Apache-2.0
"""Decoding of CIAE (section IV-C) as tensor code that exports.

The detector proposes instances; the query of a proposal is the embedding at its location. Each
pixel then joins the proposal or stuff class whose query is most similar to its embedding.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.ciae.config import CIAEConfig
from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.fcos import STRIDES, FCOSMaps, locations
from panoptic_ros.models.parts.nms import keep_boxes
from panoptic_ros.models.parts.peaks import best_match
from panoptic_ros.models.parts.segments import measure, take, to_segments, valid_rows


class Proposals(NamedTuple):
    """Instances that pixels may join, best first."""

    query: Tensor
    """Unit rows, (K, D)."""

    class_id: Tensor
    """(K,) integer."""

    score: Tensor
    """In [0, 1], (K,)."""

    box: Tensor
    """x1, y1, x2, y2 in input px, (K, 4)."""

    keep: Tensor
    """Rows that hold a proposal; the others only fill the table, (K,) bool."""


class Queries(NamedTuple):
    """Queries of the classes, which do not depend on the image."""

    memory: Tensor
    """Unit rows, stuff classes first, (M, D)."""

    memory_of_class: Tensor
    """Row of `memory` of each class, (C,) integer."""

    stuff_ids: Tensor
    """Class id of each stuff class, (C_st,) integer."""

    is_thing: Tensor
    """(C,) bool."""


def propose(
    detections: FCOSMaps,
    embedding: Tensor,
    thing_ids: Tensor,
    config: CIAEConfig,
    thresholds: dict[str, Tensor],
) -> Proposals:
    """Select proposals by suppression and look up their queries.

    Each location proposes its most probable class only (inferred; FCOS takes all classes above
    the threshold), since the others would share its query.

    Args:
        detections: outputs of the detector for one image, B = 1.
        embedding: unit length over D, at stride `config.stride`, (D, h, w).
        thing_ids: class id of each of the detector's classes, (C_th,) integer.
        config: supplies the stride and the numbers of rows.
        thresholds: scalars by name, see `CIAEConfig.thresholds`.
    """
    dim, height, width = embedding.shape
    scores, channels, boxes, cells = [], [], [], []
    for logits, box, centerness, stride in zip(
        detections.class_logits, detections.box, detections.centerness_logits, STRIDES, strict=True
    ):
        level_height, level_width = logits.shape[2:]
        logit, channel = logits[0].flatten(1).max(dim=0)  # (n,)
        prob = logit.sigmoid()
        score = torch.where(
            prob > thresholds['class_threshold'],
            torch.sqrt(prob * centerness.flatten().sigmoid()),
            -1.0,
        )
        best, at = score.topk(min(config.pre_nms_top_k, score.shape[0]))
        place = locations(level_height, level_width, stride, logits.device)
        xy = place // config.stride
        cell = xy[:, 1].clamp(max=height - 1) * width + xy[:, 0].clamp(max=width - 1)
        center, side = place.index_select(0, at), box[0].flatten(1).index_select(1, at).T
        corners = torch.cat([center - side[:, :2], center + side[:, 2:]], dim=1)
        scores.append(best)
        channels.append(channel.index_select(0, at))
        boxes.append(corners)
        cells.append(cell.index_select(0, at))

    score = torch.cat(scores)
    score, order = score.topk(score.shape[0])
    size = [width * config.stride, height * config.stride]
    limit = score.new_tensor(size + size)
    box = torch.cat(boxes).index_select(0, order).clamp(min=0).minimum(limit)
    channel = torch.cat(channels).index_select(0, order)
    keep = keep_boxes(
        box,
        None if config.nms_across_classes else channel,
        score >= thresholds['score_threshold'],
        thresholds['nms_threshold'],
    )
    score, row = torch.where(keep, score, -1.0).topk(min(config.top_k, score.shape[0]))
    cell = torch.cat(cells).index_select(0, order.index_select(0, row))
    return Proposals(
        query=embedding.reshape(dim, -1).index_select(1, cell).T,
        class_id=thing_ids.index_select(0, channel.index_select(0, row)),
        score=score.clamp(min=0),
        box=box.index_select(0, row),
        keep=score >= 0,
    )


def best_proposal(
    embedding: Tensor, proposals: Proposals, config: CIAEConfig
) -> tuple[Tensor, Tensor]:
    """Find the most similar proposal of each cell.

    With `box_filter`, the similarity is the cosine inside the proposal's box, and outside what
    `outside_box` says. Of equal similarities, the first proposal has precedence.

    Args:
        embedding: unit length over D, (D, h, w).
        proposals: K of them.
        config: supplies the stride and the switches.

    Returns:
        The cosine (NEVER without a proposal) and the row, both (h, w).
    """
    height, width = embedding.shape[1:]
    y, x = (
        (torch.arange(n, device=embedding.device) + 0.5)[:, None] * config.stride
        for n in (height, width)
    )

    def allowed(rows: slice) -> Tensor:
        keep = take(proposals.keep, rows)
        if not config.box_filter:
            return keep
        x1, y1, x2, y2 = take(proposals.box, rows).unbind(dim=1)
        down, across = (y >= y1) & (y < y2), (x >= x1) & (x < x2)  # (h, chunk), (w, chunk)
        return keep & down[:, None] & across

    zero = config.box_filter and config.outside_box == 'zero'
    outside = torch.where(proposals.keep, 0.0, NEVER) if zero else None
    return best_match(embedding.movedim(0, 2), proposals.query, allowed, outside)


def segment(
    embedding: Tensor,
    semantic_logits: Tensor | None,
    proposals: Proposals,
    queries: Queries,
    config: CIAEConfig,
    thresholds: dict[str, Tensor],
) -> SegmentTensors:
    """Assign each cell to a proposal (rows 0 to K - 1) or a stuff class (one row per class).

    Args:
        embedding: unit length over D, (D, h, w).
        semantic_logits: stuff classes and, last, things, (C_st + 1, h, w), if stuff has its own
            branch; instances then share the cells that it labels as things. Otherwise None.
        proposals: K of them.
        queries: those of the classes.
        config: supplies the stride and the switches.
        thresholds: scalars by name, see `CIAEConfig.thresholds`.
    """
    height, width = embedding.shape[1:]
    num_stuff, num_proposals = queries.stuff_ids.shape[0], proposals.query.shape[0]
    similarity, row = best_proposal(embedding, proposals, config)
    if semantic_logits is None:
        value, best = (embedding.movedim(0, 2) @ queries.memory[:num_stuff].T).max(dim=2)
        is_instance = similarity > value
        is_stuff = ~is_instance
    else:
        value, best = semantic_logits.softmax(dim=0).max(dim=0)
        is_stuff = best < num_stuff
        is_instance = ~is_stuff & (similarity > NEVER / 2)
    class_id = queries.stuff_ids.index_select(0, best.clamp(max=num_stuff - 1).flatten()).view(
        height, width
    )
    row_map = torch.where(
        is_instance, row + 1, torch.where(is_stuff, class_id + (num_proposals + 1), 0)
    ).to(torch.int32)

    num_classes = queries.is_thing.shape[0]
    measures = measure(row_map, num_proposals + num_classes, value.clamp(min=0))
    classes = torch.arange(num_classes, device=embedding.device)
    return to_segments(
        row_map,
        measures,
        valid=valid_rows(measures, proposals.keep, queries.is_thing, config.stride, thresholds),
        class_id=torch.cat([proposals.class_id, classes]),
        score=torch.cat(
            [proposals.score, measures.mean[num_proposals:]]
        ),  # stuff: mean similarity
        embedding=torch.cat(
            [proposals.query, queries.memory.index_select(0, queries.memory_of_class)]
        ),
        confidence=torch.where(is_instance, similarity, value).clamp(min=0, max=1),
    )
