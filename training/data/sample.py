# SPDX-License-Identifier: Apache-2.0
"""Labelled samples, the protocol of their readers, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID, LabelSet

HIDDEN_LAYERS = 3
"""Hidden instances that a pixel has at most; those below are left out."""


@dataclass(frozen=True)
class Sample:
    """One labelled image."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""

    class_map: npt.NDArray[np.uint8]
    """(H, W) class id, VOID_ID for unlabelled pixels."""

    instance_map: npt.NDArray[np.int32]
    """(H, W) instance id on things, from 1, unique in the image; 0 on stuff, void and crowds."""

    hidden_map: npt.NDArray[np.int32] | None = None
    """(HIDDEN_LAYERS, H, W) ids of the instances that continue under the visible one, the nearest
    first, 0 for none; None if the data does not know them. COCO's instance annotations overlap in
    this way; instances without a visible pixel may be left out."""

    def __post_init__(self) -> None:
        height, width = self.class_map.shape
        layers = (HIDDEN_LAYERS, height, width)
        if self.hidden_map is not None and self.hidden_map.shape != layers:
            raise ValueError(
                f'a sample needs hidden_map {layers} over its class_map, '
                f'got {self.hidden_map.shape}'
            )
        if self.image.shape != (height, width, 3) or self.instance_map.shape != (height, width):
            raise ValueError(
                f'a sample needs image (H, W, 3), class_map and instance_map (H, W), '
                f'got {self.image.shape}, {self.class_map.shape}, '
                f'{self.instance_map.shape}'
            )


class Reader(Protocol):
    """Reader of a split of a data set."""

    labels: LabelSet

    def __len__(self) -> int: ...

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the frames of each video, in time order; empty for single images.

        Within a clip instance ids are track ids.
        """

    @property
    def image_ids(self) -> Sequence[int | str]:
        """Unique ids of the images in the data set itself, by index."""

    @property
    def image_names(self) -> Sequence[str]:
        """Unique names of the images, by index, for tables and files.

        The ids where these are names, else the names of the image files.
        """

    @property
    def submission(self) -> str:
        """Name of the file that the data set's server takes, without suffix.

        {split} and {model} in it are replaced. Empty where there is no server for this data.
        """

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return each index once, in the order of an epoch."""

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Return sample `index`; generated images also depend on `epoch_seed`."""


class Batch(NamedTuple):
    """Stacked samples of one size."""

    image: Tensor
    """(B, 3, H, W) uint8 RGB."""

    class_map: Tensor
    """(B, H, W) int64, VOID_ID for void."""

    instance_map: Tensor
    """(B, H, W) int64, 0 for none."""

    hidden_map: Tensor | None = None
    """(B, HIDDEN_LAYERS, H, W) int64, 0 for none; None if the data does not know it."""

    def at_stride(self, stride: int) -> 'Batch':
        """Return a batch whose label maps are sampled at the centre of each `stride` px cell."""
        cells = (..., slice(stride // 2, None, stride), slice(stride // 2, None, stride))
        return self._replace(
            class_map=self.class_map[cells],
            instance_map=self.instance_map[cells],
            hidden_map=None if self.hidden_map is None else self.hidden_map[cells],
        )

    def hidden_maps(self) -> Sequence[Tensor | None]:
        """Return the hidden map of each image, or None for each if the data has none."""
        return [None] * len(self.image) if self.hidden_map is None else list(self.hidden_map)


def pack(sample: Sample) -> Tensor:
    """Pack class and instance map into one map (1, H, W) int32, so that transforms move both.

    A sample with a hidden map gives (1 + HIDDEN_LAYERS, H, W): the other maps hold its layers in
    place of instances.
    """
    maps = [sample.instance_map]
    if sample.hidden_map is not None:
        maps += list(sample.hidden_map)
    return torch.from_numpy(np.stack([m.astype(np.int32) << 8 | sample.class_map for m in maps]))


PACKED_VOID = VOID_ID
"""`pack` of a void pixel."""


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return class ids and instance ids, int64, in the shape of the maps that `pack` made."""
    packed = packed.long()
    return packed & 255, packed >> 8


def collate(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Stack pairs of an image (3, H, W) and labels of `pack`."""
    images, packed = zip(*items, strict=True)
    class_map, instance_map = unpack(torch.stack(packed))
    hidden_map = instance_map[:, 1:] if instance_map.shape[1] > 1 else None
    return Batch(torch.stack(images), class_map[:, 0], instance_map[:, 0], hidden_map)


def only(items: Sequence[Any]) -> Any:
    """Return the sample of a batch of one; the collation of the validation loader."""
    (item,) = items
    return item
