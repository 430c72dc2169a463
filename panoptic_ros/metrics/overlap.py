# SPDX-License-Identifier: Apache-2.0
"""Counts of the pixels that segments share: the one pass over an image that all metrics need."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]


def count_overlaps(
    gt_map: Ints, gt_ids: Iterable[int], pred_map: Ints, pred_ids: Iterable[int], *, void: int
) -> npt.NDArray[np.int64]:
    """Count the pixels that each ground-truth id shares with each predicted id.

    The maps are read as runs of equal pairs of ids, so the cost grows with the number of borders,
    and ids may be any integers.

    Args:
        gt_map: (H, W) ids.
        gt_ids: the G ids that may occur in it, each once, without void.
        pred_map: (H, W) ids.
        pred_ids: the P ids that may occur in it, each once, without void.
        void: id of pixels without a segment, in both maps.

    Returns:
        (1 + G, 1 + P) pixels; row 0 and column 0 are void, the others the ids in their order.

    Raises:
        ValueError: if the maps differ in shape, or hold an id that is not listed.
    """
    if gt_map.shape != pred_map.shape:
        raise ValueError(
            'ground truth and prediction must have the same size, got '
            f'{gt_map.shape} and {pred_map.shape}'
        )
    gt, pred = gt_map.reshape(-1), pred_map.reshape(-1)
    starts, lengths = find_runs(gt, pred)
    gt_listed, pred_listed = (np.array([void, *ids], np.int64) for ids in (gt_ids, pred_ids))
    rows, row_of = _ranks(gt[starts], gt_listed, 'ground truth')
    cols, col_of = _ranks(pred[starts], pred_listed, 'prediction')
    shape = len(gt_listed), len(pred_listed)
    counts = np.bincount(rows * shape[1] + cols, lengths, shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)[row_of][:, col_of]


def find_runs(*rows: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return start and length, (R,), of the runs over which none of the (N,) rows changes."""
    border = np.zeros(max(rows[0].size - 1, 0), bool)
    for row in rows:
        border |= row[1:] != row[:-1]
    starts = np.concatenate([np.zeros(min(rows[0].size, 1), np.intp), np.flatnonzero(border) + 1])
    return starts, np.diff(starts, append=rows[0].size)


def _ranks(
    values: Ints, listed: npt.NDArray[np.int64], side: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rank of each value, (R,), and of each listed id, (1 + S,), among those ids."""
    order = np.argsort(listed)
    ascending, rank = listed[order], np.argsort(order)  # np.unique leaks some bytes in numpy 2.4
    if (ascending[1:] == ascending[:-1]).any():
        raise ValueError(
            f'{side}: segment ids must be listed once and not be {listed[0]} '
            f'(void), got {sorted(listed[1:].tolist())}'
        )
    found = np.minimum(np.searchsorted(ascending, values), len(listed) - 1)
    unlisted = values[ascending[found] != values]
    if unlisted.size:
        raise ValueError(
            f'{side}: id {int(unlisted[0])} is in the map and not in the list of its segments'
        )
    return found, rank
