# SPDX-License-Identifier: Apache-2.0
"""Augmentation: random crops of labelled images, applied to image and labels together."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from panoptic_ros.models.config import IMAGENET_MEAN

from .sample import PACKED_VOID, Sample, pack

FILL = tuple(round(255 * value) for value in IMAGENET_MEAN)


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of the augmentation; zeros and a scale of (1, 1) disable it."""

    flip: float = 0.5
    """Probability of mirroring left and right."""

    scale: tuple[float, float] = (0.75, 1.5)
    """Range of the zoom, relative to the image fitted into the network's input."""

    things: float = 0.0
    """Probability that a crop is placed on a thing. The instance is drawn uniformly, so small ones
    occur as often as large ones."""

    color: float = 0.3
    """Largest relative change of brightness, contrast and saturation."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f'augment.scale must be two rising numbers above 0, got {self.scale}')
        if not 0 <= self.flip <= 1 or not 0 <= self.things <= 1 or not 0 <= self.color < 1:
            raise ValueError(
                'augment.flip and augment.things must lie in 0 to 1, augment.color '
                f'in 0 to below 1, got {self.flip}, {self.things} and {self.color}'
            )


class Augment:
    """Augmentation of a sample to an image (3, H, W) uint8 and packed labels of the crop's size.

    Args:
        config: strength.
        size: (height, width) that the image is fitted into at scale 1, px.
        crop: (height, width) of the result, px; padded with the mean colour and void.
    """

    def __init__(
        self, config: AugmentConfig, size: tuple[int, int], crop: tuple[int, int]
    ) -> None:
        self.size, self.crop, self.config = size, crop, config
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(config.flip),
                v2.RandomCrop(
                    crop,
                    pad_if_needed=True,
                    fill={tv_tensors.Image: FILL, tv_tensors.Mask: PACKED_VOID},
                ),
                v2.ColorJitter(config.color, config.color, config.color),
            ]
        )

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """Return image and packed labels; the same seed gives the same result."""
        image = torch.from_numpy(sample.image).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, labels = zoom(
                image, pack(sample), self.size, torch.empty(()).uniform_(*self.config.scale).item()
            )
            if self.config.things and torch.rand(()) < self.config.things:
                image, labels = around_thing(image, labels, self.crop)
            image, labels = self.transform(tv_tensors.Image(image), tv_tensors.Mask(labels))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor)


def around_thing(image: Tensor, labels: Tensor, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cut a random window of at most the crop's size around a random pixel of a random instance.

    Args:
        image: (3, H, W).
        labels: (N, H, W), packed; without instances, image and labels are returned unchanged.
        crop: (height, width), px.
    """
    instances = labels[0] >> 8
    ids = instances.unique()
    ids = ids[ids > 0]
    if not len(ids):
        return image, labels
    pixels = (instances == ids[_draw(len(ids))]).nonzero()
    place = pixels[_draw(len(pixels))].tolist()
    window: tuple[slice, ...] = (slice(None),)
    for at, side, full in zip(place, crop, instances.shape, strict=True):
        first, last = max(0, at - side + 1), min(at, full - side)
        start = first + _draw(last - first + 1) if last >= first else 0
        window += (slice(start, start + side),)
    return image[window], labels[window]


def _draw(count: int) -> int:
    return int(torch.randint(count, ()))


def zoom(
    image: Tensor, labels: Tensor, size: tuple[int, int], scale: float
) -> tuple[Tensor, Tensor]:
    """Resize to fit into a size, times `scale`, with a constant aspect ratio.

    torchvision's ScaleJitter swaps height and width of a size that is not square, and shifts its
    masks by up to half a pixel against the image.

    Args:
        image: (3, H, W) uint8.
        labels: (N, H, W) int32; each new pixel receives the label under its centre.
        size: (height, width), px.
        scale: relative to the fitted image.
    """
    height, width = image.shape[1:]
    scale *= min(size[0] / height, size[1] / width)
    new = [max(1, round(height * scale)), max(1, round(width * scale))]
    rows, columns = (
        ((torch.arange(n) + 0.5) * (old / n)).long()
        for n, old in zip(new, (height, width), strict=True)
    )
    return (v2.functional.resize(image, new, antialias=True), labels[:, rows[:, None], columns])
