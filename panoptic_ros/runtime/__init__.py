# SPDX-License-Identifier: Apache-2.0
"""Inference: backends that run a model file, and the predictor around them."""

from panoptic_ros.runtime.backend import Backend, BackendError
from panoptic_ros.runtime.installed import available_backends
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.runtime.select import BACKENDS, open_backend

__all__ = [
    'BACKENDS',
    'Backend',
    'BackendError',
    'Predictor',
    'available_backends',
    'open_backend',
]
