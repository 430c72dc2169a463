# SPDX-License-Identifier: Apache-2.0
"""What the metrics share: sums over images, and a mean over classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet

M = TypeVar('M', bound='SumMetric')


class SumMetric:
    """A metric that keeps nothing but arrays which add up over images.

    So it takes the same memory after any number of images; instances that saw different images
    are added together.
    """

    sums: ClassVar[tuple[str, ...]]
    """Names of the attributes that hold the arrays."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels

    def merge(self: M, other: M) -> None:
        """Adds what another instance has seen.

        Raises:
            ValueError: if its label set is another one.
        """
        if other.labels != self.labels:
            raise ValueError('only metrics of the same label set can be merged')
        for name in self.sums:
            getattr(self, name)[...] += getattr(other, name)


@dataclass(frozen=True)
class ClassScores:
    """One score for each class, and means over the classes that have one."""

    labels: LabelSet

    values: npt.NDArray[np.float64]
    """(C,) percent; NaN where the score is not defined."""

    def mean_among(self, among: npt.NDArray[np.bool_]) -> float:
        """Mean over the classes of (C,) `among`, percent; NaN where none has a score."""
        chosen = self.values[among & ~np.isnan(self.values)]
        return float(chosen.mean()) if chosen.size else float('nan')

    @property
    def mean(self) -> float:
        """Over things and stuff."""
        return self.mean_among(np.ones(len(self.labels), bool))

    @property
    def things(self) -> float:
        """Over things."""
        return self.mean_among(self.labels.is_thing)

    @property
    def stuff(self) -> float:
        """Over stuff."""
        return self.mean_among(~self.labels.is_thing)

    def to_dict(self, name: str) -> dict[str, Any]:
        """Plain values for JSON, percent, the score under `name`; None stands for NaN."""
        return {
            name: none_for_nan(self.mean),
            'things': none_for_nan(self.things),
            'stuff': none_for_nan(self.stuff),
            'per_class': [
                {'name': label, name: none_for_nan(value)}
                for label, value in zip(self.labels.names, self.values, strict=True)
            ],
        }


def none_for_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)
