# SPDX-License-Identifier: Apache-2.0
"""All image metrics of the registry, collected together."""

from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.text import counted
from panoptic_ros.metrics.base import SumMetric
from panoptic_ros.metrics.image_pair import ImagePair
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.registry import METRICS, Metric
from panoptic_ros.metrics.semantic import MeanIoU


class ImageScores:
    """Scores of one model on one data set.

    Args:
        labels: the classes.
        full: whether to collect all metrics, or only those without `full` in the registry, which
            training uses.

    Raises:
        ImportError: if `full` is set and pycocotools, which computes AP, is not installed.
    """

    def __init__(self, labels: LabelSet, full: bool = False) -> None:
        self.rows = [row for row in METRICS if full or not row.full]
        self.metrics: dict[str, Any] = {row.key: row.make(labels) for row in self.rows}
        self.images = 0

    @property
    def panoptic(self) -> PanopticQuality:
        """Panoptic quality."""
        metric: PanopticQuality = self.metrics['panoptic']
        return metric

    @property
    def semantic(self) -> MeanIoU:
        """Mean IoU."""
        metric: MeanIoU = self.metrics['semantic']
        return metric

    def update(self, pair: ImagePair) -> None:
        """Add one image."""
        for metric in self.metrics.values():
            metric.update(pair)
        self.images += 1

    def merge(self, other: 'ImageScores') -> None:
        """Add the images of another instance, after the images of this one.

        Raises:
            ValueError: if it has other classes or other metrics.
        """
        if self.metrics.keys() != other.metrics.keys():
            raise ValueError('only scores of the same metrics can be merged')
        for key, metric in self.metrics.items():
            metric.merge(other.metrics[key])
        self.images += other.images

    @property
    def counts(self) -> tuple[npt.NDArray[Any], ...]:
        """Arrays of the metrics that add up over images, and so over processes."""
        return tuple(
            getattr(metric, name)
            for metric in self.metrics.values()
            if isinstance(metric, SumMetric)
            for name in metric.sums
        )

    def summary(self) -> dict[str, float]:
        """Return the headline figures by name, percent; NaN if no class occurs."""
        scores = self.to_dict()
        values = {
            name: column.read(scores) for row in self.rows for name, column in row.columns.items()
        }
        return {name: np.nan if value is None else value for name, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return all scores with those of each class, for JSON; None stands for NaN."""
        scores = {row.key: self.metrics[row.key].compute().to_dict() for row in self.rows}
        return {**scores.pop('panoptic'), **scores}

    def per_class_rows(self) -> list[dict[str, Any]]:
        """Return a row for each class with all its scores, percent; None stands for NaN."""
        scores = self.to_dict()
        table: dict[str, dict[str, Any]] = {row['name']: row for row in scores['per_class']}
        for row in self.rows[1:]:
            values = {entry['name']: entry for entry in scores[row.key]['per_class']}
            for name, column in row.columns.items():
                key = column.class_name or column.place[-1]
                for label, cells in table.items():
                    cells[column.class_name or name] = values.get(label, {}).get(key)
        return list(table.values())

    def format(self) -> str:
        """Return the printed tables: things and stuff, each class, then the other metrics."""
        summary, result = self.summary(), self.panoptic.compute()

        def figures(rows: list[Metric]) -> list[str]:
            return [
                ', '.join(f'{c.title} {summary[name]:.1f}' for name, c in row.columns.items())
                for row in rows
            ]

        cheap = [row for row in self.rows[1:] if not row.full]
        single = [row for row in self.rows if row.full and len(row.columns) == 1]
        several = [row for row in self.rows if row.full and len(row.columns) > 1]
        lines = [
            ', '.join([*figures(cheap), counted(self.images, 'image')]),
            ', '.join(figures(single)),
            *figures(several),
        ]
        text = '\n'.join(line for line in lines if line)
        return '\n\n'.join([result.format_table(), result.format_classes(), text])
