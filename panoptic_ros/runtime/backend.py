# SPDX-License-Identifier: Apache-2.0
"""What runs a model file: the protocol that each engine's class follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_info import Outputs


class BackendError(RuntimeError):
    """An engine or a device that is not to be had; the message says how to get it."""


class Backend(Protocol):
    """A loaded model file. The attributes tell what is really used, not what was asked for."""

    name: str
    """`onnxruntime`, `tensorrt` or `torch`, with the provider or mode after a slash."""

    device: str
    """`cpu`, or `cuda:<index>`."""

    precision: str
    """`fp32`, `fp16` or `int8`."""

    fallback_reason: str
    """Why slower hardware than asked for is in use; empty when it is not."""

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, float]) -> Outputs:
        """Runs the graph.

        Args:
            image: (H, W, 3) RGB at the model's input size, C-contiguous.
            thresholds: a value for each of the model's thresholds.
        """
