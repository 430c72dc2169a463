# SPDX-License-Identifier: Apache-2.0
"""Overlap accuracy: fraction of instance pairs whose covering relation is predicted correctly.

Yang et al., SOGNet, AAAI 2020, equation 15.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

COVERED = 0.5
"""Smallest relation that means that one instance covers another."""

Relation = npt.NDArray[np.floating[Any]]


def approximate_relation(
    masks: npt.NDArray[np.bool_], visible: npt.NDArray[np.bool_], least: float = 0.1
) -> npt.NDArray[np.bool_]:
    """Compute R*, the relation in the ground truth: which instance covers which.

    Where two masks overlap, the instance that is visible on more pixels covers the other.

    Args:
        masks: complete masks of instances, hidden pixels included, (N, H, W).
        visible: visible part of each mask, (N, H, W).
        least: smallest overlap for a relation, as a fraction of the smaller of the two masks
            (inferred: as in R, equation 11).

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
    complete, seen = (x.reshape(len(x), pixels).astype(np.int64) for x in (masks, visible))
    area = complete.sum(axis=1)
    smaller = np.minimum(area[:, None], area)
    overlap = (complete @ complete.T >= least * smaller) & (smaller > 0)
    np.fill_diagonal(overlap, False)
    shown = complete @ seen.T  # [i, j]: pixels of mask i on which j is visible
    return overlap & (shown > shown.T)


def overlap_accuracy(relation: Relation, gt_relation: npt.NDArray[np.bool_]) -> float:
    """Return the fraction of an image's ordered pairs with the correct relation; NaN for N < 2.

    Args:
        relation: predicted relation O, (N, N).
        gt_relation: R*, (N, N).

    Raises:
        ValueError: if the two are not (N, N).
    """
    count = len(relation)
    if relation.shape != (count, count) or gt_relation.shape != relation.shape:
        raise ValueError(
            f'relation and gt_relation must be (N, N) both, got {relation.shape} and '
            f'{gt_relation.shape}'
        )
    if count < 2:
        return float('nan')
    correct = (relation >= COVERED) == gt_relation
    np.fill_diagonal(correct, False)
    return float(correct.sum() / (count * (count - 1)))


class OverlapAccuracy:
    """Overlap accuracy over images."""

    def __init__(self) -> None:
        self.counts = np.zeros(2)
        """(2,) sum of the images' accuracies, and number of images with at least two instances."""

    def update(self, relation: Relation, gt_relation: npt.NDArray[np.bool_]) -> None:
        """Add one image, see `overlap_accuracy`; ignore it if it has fewer than two instances."""
        accuracy = overlap_accuracy(relation, gt_relation)
        if not np.isnan(accuracy):
            self.counts += accuracy, 1

    def merge(self, other: 'OverlapAccuracy') -> None:
        """Add the images of another instance."""
        self.counts += other.counts

    def compute(self) -> float:
        """Return the mean over the images, percent; NaN without images."""
        total, images = self.counts
        return float(100 * total / images) if images else float('nan')
