# SPDX-License-Identifier: Apache-2.0
"""Which sample comes next, and the seed that everything random about it is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data.augment import Augment
from ..data.sample import Reader, Sample, collate

Draw = tuple[int, int]
"""(index, epoch seed): what fixes a training sample, whatever the number of workers."""


class Draws(Sampler[Draw]):
    """Each sample once an epoch, in the reader's order for that epoch.

    Lightning calls `set_epoch`.

    Args:
        reader: says in what order it likes to be read.
        seed: of the training.
        rank: number of this process.
        world_size: processes that share the samples.
    """

    def __init__(self, reader: Reader, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.reader, self.seed, self.epoch = reader, seed, 0
        self.rank, self.world_size = rank, world_size
        self._done = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Draws of another epoch follow."""
        self.epoch = epoch

    def go_on(self, epoch: int, draws: int) -> None:
        """That epoch comes next, without its first draws."""
        self.epoch, self._done = epoch, (epoch, draws)

    def __len__(self) -> int:
        return len(self.reader) // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        epoch_seed = int(rng.integers(2**31))
        order = self.reader.order(rng)[: len(self) * self.world_size]
        epoch, draws = self._done
        skip = draws if epoch == self.epoch else 0
        for index in order[self.rank :: self.world_size][skip:].tolist():
            yield index, epoch_seed


class SampleError(ValueError):
    """A sample that cannot be read.

    A loader makes the error of its worker again in the main process, from the class and the
    worker's traceback; of that text only the message is kept.

    Args:
        text: the message in one line, alone or at the end of a traceback.
    """

    def __init__(self, text: str) -> None:
        last = text.rstrip().rpartition('\n')[2]
        super().__init__(last.removeprefix(f'{__name__}.SampleError: '))


def read_sample(reader: Reader, index: int, epoch_seed: int) -> Sample:
    """A sample of a reader.

    Raises:
        SampleError: if it cannot be read, also as it comes from a loader's worker.
    """
    try:
        return reader.read(index, epoch_seed)
    except (ValueError, OSError) as error:
        raise SampleError(' '.join(str(error).split())) from None


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Augmented samples by draw."""

    def __init__(self, reader: Reader, augment: Augment) -> None:
        self.reader, self.augment = reader, augment

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        seed = int(np.random.default_rng(draw).integers(2**31))
        return self.augment(read_sample(self.reader, *draw), seed)


class FixedSamples(Dataset[Sample]):
    """The samples as they are, the same each time; of these, each `world_size`-th."""

    def __init__(self, reader: Reader, rank: int = 0, world_size: int = 1) -> None:
        self.reader = reader
        self.indices = range(len(reader))[rank::world_size]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return read_sample(self.reader, self.indices[index], 0)


class TrainingLoader(DataLoader[Any]):
    """Batches by draw; a training that goes on from a checkpoint gets those still to come.

    Lightning keeps `state_dict` in checkpoints and gives it back before the first batch.

    Args:
        samples: what is drawn from.
        draws: in which order.
        progress: says (epoch, batches of it that are done).
        batch_size: samples in a batch.
        options: further arguments of DataLoader.
    """

    def __init__(
        self,
        samples: TrainingSamples,
        draws: Draws,
        progress: Callable[[], tuple[int, int]],
        batch_size: int,
        **options: Any,
    ) -> None:
        super().__init__(
            samples, batch_size, sampler=draws, drop_last=True, collate_fn=collate, **options
        )
        self.draws, self.progress = draws, progress

    def state_dict(self) -> dict[str, int]:
        """Where the training is."""
        epoch, batches = self.progress()
        return {'epoch': epoch, 'batches': batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on from there."""
        self.draws.go_on(state['epoch'], state['batches'] * (self.batch_size or 1))


def one_thread(worker: int) -> None:
    """Keeps a loader's worker process on one core."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
