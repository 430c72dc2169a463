# SPDX-License-Identifier: Apache-2.0
"""Registry of the metrics: one row per image metric, and the definitions for the documentation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.base import ImageMetric
from panoptic_ros.metrics.boundary import BoundaryQuality
from panoptic_ros.metrics.covering import ParsingCovering
from panoptic_ros.metrics.instance_iou import InstanceIoU
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.pq_dagger import PQDagger
from panoptic_ros.metrics.semantic import MeanIoU


class Column(NamedTuple):
    """Headline figure of a metric, percent."""

    title: str
    """Name in printed text."""

    place: tuple[str, ...]
    """Keys that lead to the figure in `scores.json`."""

    class_name: str = ''
    """Name of the score of one class, if it differs from the name of the figure."""

    def read(self, scores: Mapping[str, Any]) -> float | None:
        """Return the figure in the scores of an evaluation; None if it is missing or NaN."""
        value: Any = scores
        for key in self.place:
            value = (value or {}).get(key)
        return None if value is None else float(value)


class Definition(NamedTuple):
    """Row of the documentation's table of metrics."""

    title: str
    text: str
    source: str


@dataclass(frozen=True)
class Metric:
    """Image metric; everything that computes, prints or tests the image metrics reads its row."""

    key: str
    """Key of its scores in `scores.json`; those of `panoptic` are at the top level."""

    make: Callable[[LabelSet], ImageMetric]

    columns: Mapping[str, Column]
    """Headline figures by name, as in logs, studies and `per_class.csv`."""

    definition: Definition

    full: bool = True
    """Whether only an evaluation computes it, and not the validation of a training."""


METRICS = (
    Metric(
        'panoptic',
        PanopticQuality,
        {
            'pq': Column('PQ', ('all', 'pq')),
            'sq': Column('SQ', ('all', 'sq')),
            'rq': Column('RQ', ('all', 'rq')),
            'pq_thing': Column('PQ of things', ('things', 'pq')),
            'pq_stuff': Column('PQ of stuff', ('stuff', 'pq')),
        },
        Definition(
            'PQ, SQ, RQ',
            'segments match if their class is equal and their IoU without void is over 0.5; '
            'PQ = sum of IoU / (TP + FP/2 + FN/2) = SQ * RQ; predictions of which more than half '
            'is void or crowd of their class are excused',
            'Kirillov et al. 2019, panopticapi',
        ),
        full=False,
    ),
    Metric(
        'semantic',
        MeanIoU,
        {'miou': Column('mIoU', ('semantic', 'miou'), 'iou')},
        Definition(
            'mIoU', 'IoU of a class over all pixels; predicted void is an error', 'Cityscapes'
        ),
        full=False,
    ),
    Metric(
        'pq_dagger',
        PQDagger,
        {'pq_dagger': Column('PQ-dagger', ('pq_dagger', 'pq'))},
        Definition(
            'PQ-dagger',
            'stuff: mean IoU over ground-truth segments, without a match threshold; things: PQ',
            'Porzi et al. 2019',
        ),
    ),
    Metric(
        'covering',
        ParsingCovering,
        {'pc': Column('PC', ('covering', 'pc'))},
        Definition(
            'Parsing Covering',
            'sum of area * best IoU with the same class / sum of area, per class; then the mean',
            'Yang et al. 2019 (DeeperLab)',
        ),
    ),
    Metric(
        'instance_iou',
        InstanceIoU,
        {'iiou': Column('iIoU', ('instance_iou', 'iiou'))},
        Definition(
            'iIoU',
            'IoU of thing classes; a ground-truth pixel weighs mean instance size / size of its '
            'instance, a false positive weighs 1',
            'Cordts et al. 2016',
        ),
    ),
    Metric(
        'boundary',
        BoundaryQuality,
        {'boundary_pq': Column('boundary PQ', ('boundary', 'all', 'pq'))},
        Definition(
            'boundary PQ',
            'PQ matched and scored by the smaller of mask IoU and boundary IoU; the boundary is '
            '2 % of the diagonal deep',
            'Cheng et al. 2021',
        ),
    ),
    Metric(
        'average_precision',
        AveragePrecision,
        {
            'ap': Column('AP', ('average_precision', 'ap')),
            'ap50': Column('AP50', ('average_precision', 'ap50')),
            'ap75': Column('AP75', ('average_precision', 'ap75')),
        },
        Definition(
            'AP, AP50, AP75',
            'mask AP of things, ranked by the score in the instance table; IoU 0.50 to 0.95, '
            '101 recall levels',
            'Lin et al. 2014, pycocotools',
        ),
    ),
)
"""Image metrics, in the order of tables and files; panoptic quality is the first."""

COLUMNS = {name: column for row in METRICS for name, column in row.columns.items()}
"""All headline figures by name."""

OTHER_DEFINITIONS = (
    Definition(
        'overlap accuracy',
        'fraction of ordered instance pairs whose covering relation is predicted correctly',
        'Yang et al. 2020 (SOGNet)',
    ),
    Definition(
        'VPQ',
        'PQ of tubes in windows of 1 to 4 frames; also on every fifth frame, k = 0, 5, 10, 15',
        'Kim et al. 2020',
    ),
    Definition(
        'STQ, AQ, SQ',
        'STQ: geometric mean of AQ (association of tracks) and SQ (mean IoU)',
        'Weber et al. 2021 (STEP)',
    ),
    Definition(
        'HOTA, DetA, AssA',
        'detection and association of things over mask IoU 0.05 to 0.95',
        'Luiten et al. 2020',
    ),
    Definition(
        'MOTA, id switches', 'CLEAR MOT at mask IoU 0.5', 'Bernardin and Stiefelhagen 2008'
    ),
    Definition('IDF1', 'F1 under the best one-to-one assignment of tracks', 'Ristani et al. 2016'),
)
"""Metrics that are not computed from pairs of segmentations of one image."""


def metric_table() -> str:
    """Return the documentation's table of all metrics, in Markdown."""
    rows = [('metric', 'definition', 'source'), ('---',) * 3]
    rows += [row.definition for row in METRICS]
    rows += OTHER_DEFINITIONS
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
