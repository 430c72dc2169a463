# SPDX-License-Identifier: Apache-2.0
"""Decoding of a class for each cell: things are the connected components of their class.

Cells are connected if they have the same class and share a side. Labels of cells spread along
whole runs of a line and of a column at once, so that the rounds that a component needs depend on
its turns and not on its size. Scattered sums would be less work, but TensorRT refuses them.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.parts.segments import measure, to_segments, valid_rows

ROUNDS = 6
"""Rounds in which labels spread along lines and columns.

A component is labelled exactly if paths of at most 2 * ROUNDS - 1 straight pieces lead from its
last cell to all others. With more turns it may be split, although labels also jump ahead.
"""

JUMPS = 4
"""Times that labels are replaced by the labels of their cells at the end."""

SIDE = 32
"""Square root of the number of components that can be counted. If an image has more of them, those
whose last cells come last, line by line, become void."""

TOP_K = 100
"""Most instances of an image; the largest components."""

EMBEDDING_KIND = 'none; things are the connected components of their class'
"""`embedding_kind` of models that are decoded so."""


def decode_classes(
    class_map: Tensor,
    confidence: Tensor,
    is_thing: Tensor,
    has_things: bool,
    stride: int,
    thresholds: Mapping[str, Tensor],
    top_k: int = TOP_K,
) -> SegmentTensors:
    """Compute segments: rows of things, the largest first, then one row per class of stuff.

    There are `top_k` rows of things; one, which stays empty, without classes of things.

    Args:
        class_map: class of each cell, C for void, (h, w) int.
        confidence: probability of that class, (h, w).
        is_thing: (C,) bool.
        has_things: whether any class is a thing.
        stride: input pixels per cell.
        thresholds: scalars by name; the score of a segment is its cells' mean probability.
        top_k: most instances of an image, below SIDE ** 2.
    """
    device, num_classes = class_map.device, is_thing.shape[0]
    most = top_k if has_things else 1
    classes = torch.arange(num_classes, device=device)
    rows_of_stuff = torch.where(is_thing, 0, classes + most + 1)
    row = F.pad(rows_of_stuff, (0, 1)).index_select(0, class_map.flatten())
    if has_things:
        thing = F.pad(is_thing.to(torch.int64), (0, 1)).index_select(0, class_map.flatten()) > 0
        row = torch.where(thing, largest(number_components(class_map, thing), most), row)
    row_map = row.view_as(class_map).to(torch.int32)
    value = torch.stack([confidence, class_map.to(confidence.dtype)], dim=2)
    measures = measure(row_map, most + num_classes, value)
    score, class_of_row = measures.mean.unbind(dim=1)
    accepted = score >= thresholds['score_threshold']
    return to_segments(
        row_map,
        measures,
        class_id=torch.cat([class_of_row[:most].round().to(classes.dtype), classes]),
        score=score,
        embedding=score.new_zeros(most + num_classes, 0),
        valid=valid_rows(measures, accepted[:most], is_thing, stride, thresholds) & accepted,
        confidence=confidence,
    )


def number_components(class_map: Tensor, chosen: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Number the connected components of a map in the order of their last cells, line by line.

    Args:
        class_map: class of each cell, (h, w) int; fewer than 2 ** 24 cells.
        chosen: the cells of components that get a number, (h * w,) bool.
        rounds: number of rounds, see ROUNDS.

    Returns:
        (h * w,) int64 from 1 to SIDE ** 2 - 1; 0 for other cells, and for further components.
    """
    cell = torch.arange(class_map.numel(), device=class_map.device)
    label = cell.to(torch.float32).view_as(class_map)
    runs = [(axis, _same_runs(class_map, axis)) for axis in (1, 0)]
    for _ in range(rounds):
        for axis, pairs in runs:
            for distance, same in pairs:
                label = _larger_of_run(label, axis, distance, same)
        label = _jump(label)
    for _ in range(JUMPS):
        label = _jump(label)
    last_cell = label.flatten().to(torch.int64)
    is_last = (chosen & (last_cell == cell)).to(torch.int64)
    number = (is_last.cumsum(dim=0) * is_last).index_select(0, last_cell)
    return torch.where(chosen & (number < SIDE**2), number, 0)


def _same_runs(class_map: Tensor, axis: int) -> list[tuple[int, Tensor]]:
    """Return for distances 1, 2, 4, ... which cells are in one run with that at the distance.

    A run is a longest piece of a line (axis 1) or column (axis 0) with one class.

    Returns:
        The distance, and 1 or 0 for each cell but the last ones of its line or column, float.
    """
    size = class_map.shape[axis]
    same = class_map.narrow(axis, 1, size - 1) == class_map.narrow(axis, 0, size - 1)
    found, distance = [], 1
    while distance < size:
        found.append((distance, same.to(torch.float32)))
        if 2 * distance < size:  # both halves of the way must be in the run
            rest = size - 2 * distance
            same = same.narrow(axis, 0, rest) & same.narrow(axis, distance, rest)
        distance *= 2
    return found


def _larger_of_run(label: Tensor, axis: int, distance: int, same: Tensor) -> Tensor:
    """Return the largest of each label and those before and after it at a distance in its run.

    Done at distances 1, 2, 4, ... in this order, it gives the largest label of the run. Shifted
    maps are used because TensorRT-RTX compiles a sequence of gathers for hours.
    """
    rest = label.shape[axis] - distance
    before, after = (
        F.pad(label.narrow(axis, first, rest) * same, pad if axis == 1 else (0, 0, *pad))
        for first, pad in ((0, (distance, 0)), (distance, (0, distance)))
    )
    return torch.maximum(label, torch.maximum(before, after))


def _jump(label: Tensor) -> Tensor:
    """Return the label of the cell that each label names."""
    flat = label.flatten()
    return flat.index_select(0, flat.to(torch.int64)).view_as(label)


def largest(number: Tensor, most: int) -> Tensor:
    """Rank the components by size.

    Args:
        number: component of each cell below SIDE ** 2, 0 for none, (N,) int64.
        most: number of components to keep.

    Returns:
        (N,) int64, 1 for the largest component to `most`; 0 for others and for none.
    """
    digit = torch.arange(SIDE, device=number.device)
    high = torch.div(number, SIDE, rounding_mode='floor')
    # A product of two small matrices counts all components without scattering.
    first, second = (
        (digits[:, None] == digit).to(torch.float32) for digits in (high, number - high * SIDE)
    )
    area = (first.T @ second).flatten()
    components = torch.arange(SIDE**2, device=number.device)
    # Engines break ties differently; of components of equal size, the first one comes first.
    size = area - components / (2 * SIDE**2)
    chosen = torch.where(components > 0, size, -1.0).topk(most).indices
    rank = torch.arange(1, most + 1, device=number.device)
    rank_of = torch.where(chosen[:, None] == components, rank[:, None], 0).amax(dim=0)
    return torch.where(components > 0, rank_of, 0).index_select(0, number)
