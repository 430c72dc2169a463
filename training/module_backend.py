# SPDX-License-Identifier: Apache-2.0
"""Backend that runs a module, so that validation runs the same code as the node."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from panoptic_ros.core.model_info import ModelInfo, Outputs
from panoptic_ros.core.version import __version__
from panoptic_ros.models.base import PanopticModel


class ModuleBackend:
    """Backend of a PyTorch module; see `panoptic_ros.runtime.backend.Backend`.

    Args:
        model: of any family, on its device and in eval mode; weights may change between images.
    """

    name = 'torch/eager'
    precision = 'fp32'
    fallback_reason = ''

    def __init__(self, model: PanopticModel) -> None:
        self.model = model
        self.device = str(next(model.parameters()).device)

    @torch.no_grad()
    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
        """See `Backend.run`; computes in the weights' precision, not the training's."""
        scalars = {
            name: torch.as_tensor(value, dtype=torch.float32, device=self.device)
            for name, value in thresholds.items()
        }
        with torch.autocast(torch.device(self.device).type, enabled=False):
            outputs = self.model(torch.from_numpy(image).to(self.device), **scalars)
        return Outputs(*(value.cpu().numpy() for value in outputs))


def model_info(
    model: PanopticModel,
    input_size: tuple[int, int],
    name: str = '',
    recipe_hash: str = '',
    scores: Mapping[str, float] | None = None,
    card: Mapping[str, str] | None = None,
) -> ModelInfo:
    """Return the metadata of a model file of this module."""
    config = model.config
    return ModelInfo(
        name=name,
        family=model.family,
        labels=model.labels,
        input_size=input_size,
        stride=config.stride,
        mean=config.mean,
        std=config.std,
        embedding_dim=model.embedding_dim,
        embedding_kind=model.embedding_kind,
        thresholds=model.thresholds,
        config=model.config_dict(),
        recipe_hash=recipe_hash,
        scores=dict(scores or {}),
        card=dict(card or {}),
        package_version=__version__,
    )
