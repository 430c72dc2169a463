# SPDX-License-Identifier: Apache-2.0
"""Mean intersection over union of class maps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric, none_for_nan
from panoptic_ros.metrics.image_pair import Overlaps


@dataclass(frozen=True)
class SemanticResult:
    """IoU of each class."""

    labels: LabelSet

    iou: npt.NDArray[np.float64]
    """(C,) percent; NaN for classes neither in the ground truth nor predicted."""

    @property
    def miou(self) -> float:
        """Mean over the classes that occur, percent; NaN if none does."""
        present = ~np.isnan(self.iou)
        return float(self.iou[present].mean()) if present.any() else float('nan')

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, percent; None stands for NaN."""
        return {
            'miou': none_for_nan(self.miou),
            'per_class': [
                {'name': name, 'iou': none_for_nan(iou)}
                for name, iou in zip(self.labels.names, self.iou, strict=True)
            ],
        }


class MeanIoU(SumMetric):
    """Confusion of classes over the pixels of images, from which the mean IoU follows."""

    sums = ('confusion',)

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.confusion = np.zeros((len(labels), len(labels) + 1), np.int64)
        """(C, 1 + C) pixels by ground-truth and predicted class; column 0 is predicted void."""

    def update(self, pair: Overlaps) -> None:
        """Add one image.

        Pixels that are void in the ground truth do not count; void predictions are errors.
        """
        columns = np.append(0, pair.pred_class + 1)
        np.add.at(self.confusion, (pair.gt_class[:, None], columns), pair.shared[1:])

    def compute(self) -> SemanticResult:
        """Return the IoU of each class over all pixels so far, as for Cityscapes."""
        both = self.confusion[:, 1:].diagonal()
        union = self.confusion.sum(axis=1) + self.confusion[:, 1:].sum(axis=0) - both
        with np.errstate(invalid='ignore'):
            return SemanticResult(self.labels, 100 * both / union)
