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
        self.size, self.scale = size, config.scale
        self.transform = v2.Compose([
            v2.RandomHorizontalFlip(config.flip),
            v2.RandomCrop(crop, pad_if_needed=True,
                          fill={tv_tensors.Image: FILL, tv_tensors.Mask: PACKED_VOID}),
            v2.ColorJitter(config.color, config.color, config.color),
        ])

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """The same seed gives the same crop."""
        image = torch.from_numpy(sample.image).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, labels = zoom(image, pack(sample), self.size,
                                 torch.empty(()).uniform_(*self.scale).item())
            image, labels = self.transform(tv_tensors.Image(image), tv_tensors.Mask(labels))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor)


def zoom(image: Tensor, labels: Tensor, size: tuple[int, int], scale: float,
         ) -> tuple[Tensor, Tensor]:
    """Scales to fit into a size, times `scale`; the ratio is kept.

    torchvision's ScaleJitter takes height for width where the size is not square, and its masks
    lie up to half a pixel beside the image.

    Args:
        image: (3, H, W) uint8.
        labels: (1, H, W) int32; each pixel takes the label under its centre.
        size: (height, width), px.
        scale: relative to the fitted image.
    """
    height, width = image.shape[1:]
    scale *= min(size[0] / height, size[1] / width)
    new = [max(1, round(height * scale)), max(1, round(width * scale))]
    rows, columns = (((torch.arange(n) + 0.5) * (old / n)).long()
                     for n, old in zip(new, (height, width), strict=True))
    return (v2.functional.resize(image, new, antialias=True),
            labels[:, rows[:, None], columns])
