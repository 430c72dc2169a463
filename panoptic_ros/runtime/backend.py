# SPDX-License-Identifier: Apache-2.0
"""Protocol of the backends; each runs model files with one engine."""

from collections.abc import Mapping
from typing import Any, Protocol

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

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
        """Run the graph; `batch.run_images` does so for any number of images.

        Args:
            image: RGB of the shape `ModelInfo.image_shape`, C-contiguous.
            thresholds: for each of the model's thresholds, by name, a number; for a batch of N
                images (N,) float32.

        Returns:
            The outputs; for a batch of N images with an axis of N before the others.
        """
