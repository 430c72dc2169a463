# SPDX-License-Identifier: Apache-2.0
"""Base class of all families: one module from a camera image to segments."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

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
        """Return images, ([N,] H, W, 3) uint8, as a batch, (N, 3, H, W) float in 0..255."""
        # TensorRT takes bytes only where they are converted at once.
        pixels = image.to(self.mean.dtype)
        if image.dim() == 3:
            return pixels.permute(2, 0, 1)[None]
        return pixels.permute(0, 3, 1, 2)

    def maps_to_decode(self, batch: Tensor) -> Any:
        """Compute the maps that `decode` takes, of a batch (B, 3, H, W) in 0..255.

        Their tensors have the images on the first axis, except for scalars.
        """
        return self.maps(batch)

    def forward(self, image: Tensor, **thresholds: Tensor) -> SegmentTensors:
        """Compute the segments of one image or of several, which are decoded one by one.

        Args:
            image: RGB, (H, W, 3) or (N, H, W, 3) uint8.
            thresholds: one per name in `thresholds`: scalars (), or for N images (N,).

        Returns:
            The outputs; for N images with an axis of the images before the others.
        """
        maps = self.maps_to_decode(self.to_batch(image))
        if image.dim() == 3:
            return self.decode(maps, **thresholds)
        rows = [
            self.decode(
                _of_image(maps, i), **{name: value[i] for name, value in thresholds.items()}
            )
            for i in range(image.shape[0])
        ]
        return SegmentTensors(
            *(torch.cat([value[None] for value in values]) for values in zip(*rows, strict=True))
        )

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


def _of_image(maps: Any, index: int) -> Any:
    """Return the maps of one image of a batch, as a batch of one."""
    return tree_map(
        lambda x: x[index : index + 1] if isinstance(x, Tensor) and x.dim() else x, maps
    )
