# SPDX-License-Identifier: Apache-2.0
"""Overlap accuracy: are the right instances said to cover one another?

Yang et al., SOGNet, AAAI 2020, equation 15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

COVERED = 0.5
"""A relation from here on says that one instance covers another."""

Relation = npt.NDArray[np.floating[Any]]


def approximate_relation(
    masks: npt.NDArray[np.bool_], visible: npt.NDArray[np.bool_], least: float = 0.1
) -> npt.NDArray[np.bool_]:
    """R*: who covers whom, read from what is seen where masks overlap.

    Args:
        masks: instances with what is hidden of them, (N, H, W).
        visible: what is seen of each, part of its mask, (N, H, W).
        least: part of the smaller one that two must share for a relation (inferred: as in R,
            equation 11).

    Returns:
        (N, N): [i, j] True where i is covered by j.

    Raises:
        ValueError: if the two differ in shape.
    """
    if masks.ndim != 3 or masks.shape != visible.shape:
        raise ValueError(
            f'masks and visible must be (N, H, W) both, got {masks.shape} and {visible.shape}'
        )
    pixels = masks.shape[1] * masks.shape[2]
    whole, seen = (x.reshape(len(x), pixels).astype(np.int64) for x in (masks, visible))
    area = whole.sum(axis=1)
    smaller = np.minimum(area[:, None], area)
    overlap = (whole @ whole.T >= least * smaller) & (smaller > 0)
    np.fill_diagonal(overlap, False)
    shown = whole @ seen.T  # [i, j]: pixels of i that show j
    return overlap & (shown > shown.T)


def overlap_accuracy(relation: Relation, truth: npt.NDArray[np.bool_]) -> float:
    """Part of the ordered pairs of an image that are told right, 0 to 1; NaN for N < 2.

    Args:
        relation: O, (N, N).
        truth: R*, (N, N).

    Raises:
        ValueError: if the two are not (N, N).
    """
    count = len(relation)
    if relation.shape != (count, count) or truth.shape != relation.shape:
        raise ValueError(
            f'relation and truth must be (N, N) both, got {relation.shape} and {truth.shape}'
        )
    if count < 2:
        return float('nan')
    right = (relation >= COVERED) == truth
    np.fill_diagonal(right, False)
    return float(right.sum() / (count * (count - 1)))


class OverlapAccuracy:
    """Collects images one at a time; instances that saw different images can be merged."""

    def __init__(self) -> None:
        self.counts = np.zeros(2)
        """Sum of the images' accuracies, and number of images with at least two instances."""

    def update(self, relation: Relation, truth: npt.NDArray[np.bool_]) -> None:
        """Adds one image; see `overlap_accuracy`. Images with fewer than two instances pass."""
        accuracy = overlap_accuracy(relation, truth)
        if not np.isnan(accuracy):
            self.counts += accuracy, 1

    def merge(self, other: OverlapAccuracy) -> None:
        """Adds what another instance has seen."""
        self.counts += other.counts

    def result(self) -> float:
        """Mean over the images, percent; NaN without any."""
        total, images = self.counts
        return float(100 * total / images) if images else float('nan')
