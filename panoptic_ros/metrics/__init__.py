"""Scores of predictions against ground truth: update(), merge(), result()."""

from panoptic_ros.metrics.panoptic import PanopticQuality, PanopticResult, Quality
from panoptic_ros.metrics.semantic import MeanIoU, SemanticResult

__all__ = ['MeanIoU', 'PanopticQuality', 'PanopticResult', 'Quality', 'SemanticResult']
