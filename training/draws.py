"""Which sample comes next, and the seed that everything random about it is drawn from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from .data.augment import Augment
from .data.sample import Reader, Sample

Draw = tuple[int, int]
"""(index, epoch seed): what fixes a training sample, whatever the number of workers."""


class Draws(Sampler[Draw]):
    """Each sample once an epoch, in the reader's order for that epoch.

    An epoch is the same after a resume. Lightning calls `set_epoch`.

    Args:
        reader: says in what order it likes to be read.
        seed: of the training.
        rank: number of this process.
        world_size: processes that share the samples.
    """

    def __init__(self, reader: Reader, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.reader, self.seed, self.epoch = reader, seed, 0
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Draws of another epoch follow."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.reader) // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        epoch_seed = int(rng.integers(2**31))
        order = self.reader.order(rng)[:len(self) * self.world_size]
        for index in order[self.rank::self.world_size].tolist():
            yield index, epoch_seed


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Augmented samples by draw."""

    def __init__(self, reader: Reader, augment: Augment) -> None:
        self.reader, self.augment = reader, augment

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        seed = int(np.random.default_rng(draw).integers(2**31))
        return self.augment(self.reader.read(*draw), seed)


class FixedSamples(Dataset[Sample]):
    """The samples as they are, the same each time; of these, each `world_size`-th."""

    def __init__(self, reader: Reader, rank: int = 0, world_size: int = 1) -> None:
        self.reader = reader
        self.indices = range(len(reader))[rank::world_size]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.reader.read(self.indices[index], 0)


def one_thread(worker: int) -> None:
    """Keeps a loader's worker process on one core."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
