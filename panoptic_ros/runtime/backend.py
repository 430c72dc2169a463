# SPDX-License-Identifier: Apache-2.0
"""Protocol of the backends; each runs model files with one engine."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_info import Outputs


class BackendError(RuntimeError):
    """An engine or a device that is not available; the message says how to get it."""


class Backend(Protocol):
    """A loaded model file. The attributes name what is in use, not what was requested."""

    name: str
    """One of `select.BACKENDS`; a provider or mode follows after a slash."""

    device: str
    """`cpu`, or `cuda:<index>`; `gpu` or `npu` where the provider has devices of its own."""

    precision: str
    """`fp32`, `fp16` or `int8`."""

    fallback_reason: str
    """Reason why slower hardware than requested is in use; empty if it is not."""

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, float]) -> Outputs:
        """Run the graph.

        Args:
            image: (H, W, 3) RGB at the model's input size, C-contiguous.
            thresholds: a value for each of the model's thresholds, by name.
        """
