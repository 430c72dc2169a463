# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation for ROS 2: models, runtime, tracking, metrics and the node."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from panoptic_ros.core.version import __version__

if TYPE_CHECKING:
    from panoptic_ros.core.frame import PanopticFrame, read_instances
    from panoptic_ros.core.labels import Label, LabelSet
    from panoptic_ros.predictions.prediction import predict
    from panoptic_ros.predictions.run import predict_files
    from panoptic_ros.runtime.load import load
    from panoptic_ros.tracking.tracker import Tracker

__all__ = [
    'Label',
    'LabelSet',
    'PanopticFrame',
    'Tracker',
    '__version__',
    'load',
    'predict',
    'predict_files',
    'read_instances',
]

_MODULES = {
    'Label': 'core.labels',
    'LabelSet': 'core.labels',
    'PanopticFrame': 'core.frame',
    'Tracker': 'tracking.tracker',
    'load': 'runtime.load',
    'predict': 'predictions.prediction',
    'predict_files': 'predictions.run',
    'read_instances': 'core.frame',
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: `panoptic_ros.core` alone starts faster."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
