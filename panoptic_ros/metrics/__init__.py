# SPDX-License-Identifier: Apache-2.0
"""Scores of predictions against ground truth: update() or add(), merge(), result()."""

from panoptic_ros.metrics.average_precision import AveragePrecision, AveragePrecisionResult
from panoptic_ros.metrics.base import ClassScores
from panoptic_ros.metrics.boundary import BoundaryQuality
from panoptic_ros.metrics.covering import ParsingCovering
from panoptic_ros.metrics.image_pair import Pair, compare
from panoptic_ros.metrics.instance_iou import InstanceIoU
from panoptic_ros.metrics.panoptic import PanopticQuality, PanopticResult, Quality
from panoptic_ros.metrics.pq_dagger import PQDagger
from panoptic_ros.metrics.semantic import MeanIoU, SemanticResult

__all__ = [
    'AveragePrecision',
    'AveragePrecisionResult',
    'BoundaryQuality',
    'ClassScores',
    'InstanceIoU',
    'MeanIoU',
    'PQDagger',
    'Pair',
    'PanopticQuality',
    'PanopticResult',
    'ParsingCovering',
    'Quality',
    'SemanticResult',
    'compare',
]
