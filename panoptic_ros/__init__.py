# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation for ROS 2: models, runtime, tracking, metrics and the node."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from panoptic_ros.core.version import __version__

if TYPE_CHECKING:
    from panoptic_ros.core.frame import PanopticFrame, read_instances
    from panoptic_ros.core.labels import Label, LabelSet

__all__ = ['Label', 'LabelSet', 'PanopticFrame', '__version__', 'read_instances']

_MODULES = {
    'Label': 'core.labels',
    'LabelSet': 'core.labels',
    'PanopticFrame': 'core.frame',
    'read_instances': 'core.frame',
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use, so that the node's start can watch for signals."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
