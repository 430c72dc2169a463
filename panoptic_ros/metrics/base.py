# SPDX-License-Identifier: Apache-2.0
"""Interface of the image metrics, sums over images, and scores with a mean over classes."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import ImagePair

M = TypeVar('M', bound='SumMetric')


class Result(Protocol):
    """Scores of a metric."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, percent; None stands for NaN.

        `per_class` lists the scores of each class, with its `name`.
        """


class ImageMetric(Protocol):
    """Metric that collects images one at a time; see `panoptic_ros.metrics.registry.METRICS`."""

    def update(self, pair: ImagePair) -> None:
        """Add one image."""

    def compute(self) -> Result:
        """Return the scores of all images so far."""

    def merge(self, other: Any) -> None:
        """Add the images of another instance of the class, after the images of this one."""


class SumMetric:
    """Metric whose whole state is arrays that add up over images.

    Its memory does not grow with the number of images, and instances that collected different
    images can be merged.
    """

    sums: ClassVar[tuple[str, ...]]
    """Names of the attributes that hold the arrays."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels

    def merge(self: M, other: M) -> None:
        """Add the images of another instance.

        Raises:
            ValueError: if its label set differs.
        """
        require_same_labels(self.labels, other.labels)
        for name in self.sums:
            getattr(self, name)[...] += getattr(other, name)


def require_same_labels(labels: LabelSet, other: LabelSet) -> None:
    """Refuse to merge metrics of different label sets.

    Raises:
        ValueError: if the label sets differ.
    """
    if other != labels:
        raise ValueError('only metrics of the same label set can be merged')


@dataclass(frozen=True)
class ClassScores:
    """One score for each class, and its means over the classes that have it."""

    labels: LabelSet

    name: str
    """Key of the score in `to_dict`."""

    values: npt.NDArray[np.float64]
    """(C,) percent; NaN if the score is not defined for the class."""

    def mean_among(self, among: npt.NDArray[np.bool_]) -> float:
        """Return the mean over the classes of (C,) `among`, percent; NaN if none has a score."""
        chosen = self.values[among & ~np.isnan(self.values)]
        return float(chosen.mean()) if chosen.size else float('nan')

    @property
    def mean(self) -> float:
        """Mean over things and stuff."""
        return self.mean_among(np.ones(len(self.labels), bool))

    @property
    def things(self) -> float:
        """Mean over things."""
        return self.mean_among(self.labels.is_thing)

    @property
    def stuff(self) -> float:
        """Mean over stuff."""
        return self.mean_among(~self.labels.is_thing)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, percent; None stands for NaN."""
        return {
            self.name: none_for_nan(self.mean),
            'things': none_for_nan(self.things),
            'stuff': none_for_nan(self.stuff),
            'per_class': [
                {'name': label, self.name: none_for_nan(value)}
                for label, value in zip(self.labels.names, self.values, strict=True)
            ],
        }


def none_for_nan(value: float) -> float | None:
    """Return the value as JSON can hold it: None for NaN."""
    return None if np.isnan(value) else float(value)
