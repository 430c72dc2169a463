# SPDX-License-Identifier: Apache-2.0
"""What every data reader gives, and what becomes of it on the way into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID, LabelSet


@dataclass(frozen=True)
class Sample:
    """One labelled image."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""

    class_map: npt.NDArray[np.uint8]
    """(H, W) class id, VOID_ID where nothing is known."""

    instance_map: npt.NDArray[np.int32]
    """(H, W) instance id on things, 1 or more, once per image; 0 on stuff, void and crowds."""

    hidden_map: npt.NDArray[np.int32] | None = None
    """(H, W) id of the instance that goes on under the one that is seen, 0 for none; None where
    the data does not say. COCO's annotations overlap like this; instances that another hides
    wholly may be left out. One layer only (inferred): in a pile of three or more a pixel knows
    what is seen and one hidden instance, so those further down lack it."""

    def __post_init__(self) -> None:
        height, width = self.class_map.shape
        if self.hidden_map is not None and self.hidden_map.shape != (height, width):
            raise ValueError(
                f'a sample needs hidden_map {(height, width)} like its class_map, '
                f'got {self.hidden_map.shape}'
            )
        if self.image.shape != (height, width, 3) or self.instance_map.shape != (height, width):
            raise ValueError(
                f'a sample needs image (H, W, 3), class_map and instance_map (H, W), '
                f'got {self.image.shape}, {self.class_map.shape}, '
                f'{self.instance_map.shape}'
            )


class Reader(Protocol):
    """A split of a data set. Checked when it is made, so that training never meets bad files."""

    labels: LabelSet

    def __len__(self) -> int: ...

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the frames of each video, in time order; none where there are none.

        Within a clip instance ids are track ids.
        """

    @property
    def image_ids(self) -> Sequence[int | str]:
        """What the data set itself calls its images, by index; each differs."""

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Each index once, in the order of an epoch."""

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Sample `index`; readers that make images up take them from `epoch_seed` too."""


class Batch(NamedTuple):
    """Samples of one size, stacked."""

    image: Tensor
    """(B, 3, H, W) uint8 RGB."""

    class_map: Tensor
    """(B, H, W) int64, VOID_ID for void."""

    instance_map: Tensor
    """(B, H, W) int64, 0 for none."""

    hidden_map: Tensor | None = None
    """(B, H, W) int64, 0 for none; None where the data does not say."""

    def at_stride(self, stride: int) -> Batch:
        """The same with label maps of one cell per `stride` pixels, taken at its centre."""
        cells = (slice(None), slice(stride // 2, None, stride), slice(stride // 2, None, stride))
        return self._replace(
            class_map=self.class_map[cells],
            instance_map=self.instance_map[cells],
            hidden_map=None if self.hidden_map is None else self.hidden_map[cells],
        )

    def hidden_maps(self) -> Sequence[Tensor | None]:
        """Return the hidden map of each image, or None for each if the data has none."""
        return [None] * len(self.image) if self.hidden_map is None else list(self.hidden_map)


def pack(sample: Sample) -> Tensor:
    """Both label maps in one, so that a transform cannot move them apart: (1, H, W) int32.

    With a hidden map (2, H, W), where it is packed in place of the instances the same way.
    """
    maps = (
        [sample.instance_map]
        if sample.hidden_map is None
        else [sample.instance_map, sample.hidden_map]
    )
    return torch.from_numpy(np.stack([m.astype(np.int32) << 8 | sample.class_map for m in maps]))


PACKED_VOID = VOID_ID
"""`pack` of a void pixel."""


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of `pack`: class_map and instance_map (..., H, W) int64."""
    packed = packed.squeeze(-3).long()
    return packed & 255, packed >> 8


def collate(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Stacks (image (3, H, W), packed labels (1 or 2, H, W)) pairs."""
    images, packed = zip(*items, strict=True)
    seen, *hidden = torch.stack(packed).split(1, dim=1)
    return Batch(torch.stack(images), *unpack(seen), *(unpack(h)[1] for h in hidden))


def only(items: Sequence[Any]) -> Any:
    """Collation of a loader that gives one sample at a time, as it is."""
    (item,) = items
    return item
