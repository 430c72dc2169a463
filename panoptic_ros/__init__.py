# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation for ROS 2: models, runtime, tracking, metrics and the node."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panoptic_ros.frame import PanopticFrame, read_instances
    from panoptic_ros.labels import Label, LabelSet

__version__ = '0.1.0'

__all__ = ['Label', 'LabelSet', 'PanopticFrame', '__version__', 'read_instances']

_MODULES = {
    'Label': 'labels',
    'LabelSet': 'labels',
    'PanopticFrame': 'frame',
    'read_instances': 'frame',
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use, so that the node's start can watch for signals."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
