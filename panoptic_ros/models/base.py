# SPDX-License-Identifier: Apache-2.0
"""Base class of all families: one module from a camera image to segments."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_info import Threshold


class SegmentTensors(NamedTuple):
    """Outputs of the graph as tensors, with the fields of `core.model_info.Outputs`."""

    segment_map: Tensor
    semantic_map: Tensor
    class_id: Tensor
    score: Tensor
    box: Tensor
    centroid: Tensor
    area: Tensor
    embedding: Tensor
    valid: Tensor
    confidence: Tensor


class PanopticModel(nn.Module):
    """Base class of the families: normalises the image, then calls `maps` and `decode`.

    A family's configuration is a frozen dataclass of plain values, so that a model file can
    store everything that is needed to build the module again.
    """

    family: ClassVar[str]

    embedding_kind: str
    """Meaning of a row's embedding."""

    heads: ClassVar[tuple[str, ...]]
    """Names of the layers whose outputs decoding starts from; benchmarks split the time there."""

    training_only: tuple[str, ...] = ()
    """Prefixes of the names of weights that decoding may not need; a model file may lack them."""

    mean: Tensor
    std: Tensor
    is_thing: Tensor

    def __init__(self, labels: LabelSet, config: Any) -> None:
        super().__init__()
        self.labels = labels
        self.config = config
        for name, value in (('mean', config.mean), ('std', config.std)):
            self.register_buffer(name, 255 * torch.tensor(value).view(3, 1, 1), persistent=False)
        self.register_buffer('is_thing', torch.from_numpy(labels.is_thing), persistent=False)

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """Scalar inputs of `forward` beside the image, by name."""
        thresholds: Mapping[str, Threshold] = self.config.thresholds()
        return thresholds

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding in the instance table."""
        return int(self.config.embedding_dim)

    def check_input_size(self, size: tuple[int, int]) -> None:
        """Raise ValueError if the network cannot run at an input (height, width), px."""

    def maps(self, image: Tensor) -> Any:
        """Compute the dense predictions that losses see.

        Args:
            image: RGB on a scale of 0 to 255, any dtype, (B, 3, H, W).
        """
        raise NotImplementedError

    def decode(self, maps: Any, **thresholds: Tensor) -> SegmentTensors:
        """Turn the maps of one image (B = 1) into segments, in operations that export."""
        raise NotImplementedError

    def on_step(self, progress: float) -> None:
        """Receive the progress of the training, 0 to 1, before the loss of each step."""

    def renormalize(self) -> None:
        """Project parameters onto their constraint; called after each optimiser step."""

    def normalize(self, image: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) from 0..255 to the backbone's scale, float."""
        return (image.to(self.mean.dtype) - self.mean) / self.std

    def to_batch(self, image: Tensor) -> Tensor:
        """Return an image, (H, W, 3) uint8, as a batch of one, (1, 3, H, W) float in 0..255."""
        # TensorRT takes bytes only where they are converted at once.
        return image.to(self.mean.dtype).permute(2, 0, 1)[None]

    def forward(self, image: Tensor, **thresholds: Tensor) -> SegmentTensors:
        """Compute the segments of one image.

        Args:
            image: RGB, (H, W, 3) uint8.
            thresholds: scalar tensors (), one per name in `thresholds`.
        """
        return self.decode(self.maps(self.to_batch(image)), **thresholds)

    def default_thresholds(self) -> dict[str, Tensor]:
        """Return the defaults of the thresholds as `forward` takes them."""
        device = self.mean.device
        return {
            name: torch.tensor(float(t.default), device=device)
            for name, t in self.thresholds.items()
        }

    def config_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values."""
        return dataclasses.asdict(self.config)
