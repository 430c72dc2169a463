"""Random crops of labelled images; image and labels move as one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from panoptic_ros.models.base import IMAGENET_MEAN

from .sample import PACKED_VOID, Sample, pack

FILL = tuple(round(255 * value) for value in IMAGENET_MEAN)


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of the augmentation; zeros and (1, 1) leave the images as they are."""

    flip: float = 0.5
    """Chance of mirroring left and right."""

    scale: tuple[float, float] = (0.75, 1.5)
    """Range of the zoom, relative to the image fitted into the network's input."""

    color: float = 0.3
    """Largest relative change of brightness, contrast and saturation."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f'augment.scale must be two rising numbers above 0, got {self.scale}')
        if not 0 <= self.flip <= 1 or not 0 <= self.color < 1:
            raise ValueError('augment.flip must lie in 0 to 1 and augment.color in 0 to below 1, '
                             f'got {self.flip} and {self.color}')


class Augment:
    """Sample -> (image (3, H, W) uint8, packed labels (1, H, W) int32) of the crop's size.

    Args:
        config: how strong.
        size: (height, width) that the image is fitted into at scale 1.
        crop: (height, width) of what comes out; padded with mean colour and void.
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, int],
                 crop: tuple[int, int]) -> None:
        self.transform = v2.Compose([
            v2.RandomHorizontalFlip(config.flip),
            v2.ScaleJitter(size, config.scale),
            v2.RandomCrop(crop, pad_if_needed=True,
                          fill={tv_tensors.Image: FILL, tv_tensors.Mask: PACKED_VOID}),
            v2.ColorJitter(config.color, config.color, config.color),
        ])

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """The same seed gives the same crop."""
        image = tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, labels = self.transform(image, tv_tensors.Mask(pack(sample)))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor)
