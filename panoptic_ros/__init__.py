"""Panoptic segmentation for ROS 2: models, runtime, tracking, metrics and the node."""

from panoptic_ros.frame import PanopticFrame, read_instances
from panoptic_ros.labels import Label, LabelSet

__version__ = '0.1.0'

__all__ = ['Label', 'LabelSet', 'PanopticFrame', '__version__', 'read_instances']
