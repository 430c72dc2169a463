# SPDX-License-Identifier: Apache-2.0
"""Order and random seeds of the training samples, the loader of batches, and its workers."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import parent_process
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data.augment import Augment
from ..data.sample import Reader, Sample, collate

SampleKey = tuple[int, int]
"""(index, epoch seed), which determine a training sample for any number of workers."""


class EpochSampler(Sampler[SampleKey]):
    """Sampler that yields each sample once per epoch, in the reader's order for that epoch.

    Lightning calls `set_epoch`.

    Args:
        reader: determines the order within an epoch.
        seed: of the training.
        rank: number of this process.
        world_size: number of processes that share the samples.
    """

    def __init__(self, reader: Reader, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.reader, self.seed, self.epoch = reader, seed, 0
        self.rank, self.world_size = rank, world_size
        # Frames of a clip stay in one process, and so in one batch.
        self.clip = getattr(reader, 'clip_length', 1)
        self._resumed = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose samples are yielded."""
        self.epoch = epoch

    def resume(self, epoch: int, samples: int) -> None:
        """Set the epoch, and skip the samples of it that this process has done before."""
        self.epoch, self._resumed = epoch, (epoch, samples)

    def __len__(self) -> int:
        return len(self.reader) // self.clip // self.world_size * self.clip

    def __iter__(self) -> Iterator[SampleKey]:
        rng = np.random.default_rng((self.seed, self.epoch))
        epoch_seed = int(rng.integers(2**31))
        clips = self.reader.order(rng)[: len(self) * self.world_size].reshape(-1, self.clip)
        epoch, samples = self._resumed
        skip = samples if epoch == self.epoch else 0
        for index in clips[self.rank :: self.world_size].ravel()[skip:].tolist():
            yield index, epoch_seed


class SampleError(ValueError):
    """Error of a sample that cannot be read.

    A data loader raises the error of its worker again in the main process, constructed from the
    class and the worker's traceback. Only the message is kept of that text.

    Args:
        text: the message in one line, alone or at the end of a traceback.
    """

    def __init__(self, text: str) -> None:
        last = text.rstrip().rpartition('\n')[2]
        super().__init__(last.removeprefix(f'{__name__}.SampleError: '))


def read_sample(reader: Reader, index: int, epoch_seed: int) -> Sample:
    """Read a sample.

    Raises:
        SampleError: if it cannot be read; a loader's worker passes this error on intact.
    """
    try:
        return reader.read(index, epoch_seed)
    except (ValueError, OSError) as error:
        raise SampleError(' '.join(str(error).split())) from None


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Augmented samples by their key."""

    def __init__(self, reader: Reader, augment: Augment) -> None:
        self.reader, self.augment = reader, augment

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Tensor]:
        seed = int(np.random.default_rng(key).integers(2**31))
        return self.augment(read_sample(self.reader, *key), seed)


class FixedSamples(Dataset[Sample]):
    """Samples without augmentation, the same in each epoch; every `world_size`-th of them."""

    def __init__(self, reader: Reader, rank: int = 0, world_size: int = 1) -> None:
        self.reader = reader
        self.indices = range(len(reader))[rank::world_size]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return read_sample(self.reader, self.indices[index], 0)


class TrainingLoader(DataLoader[Any]):
    """Loader of training batches; after a resume it continues within the epoch.

    Lightning stores `state_dict` in checkpoints and loads it before the first batch. The number of
    processes and the batch size may differ from those of the checkpoint; if the samples that are
    done do not fill a batch of all processes, the last of them are repeated.

    Args:
        samples: the augmented samples.
        sampler: their order.
        progress: returns (epoch, number of its batches that are done).
        batch_size: samples in a batch.
        set_batches: receives the number of batches that are done, if it is another one for the
            present processes and batch size.
        options: further arguments of DataLoader.
    """

    def __init__(
        self,
        samples: TrainingSamples,
        sampler: EpochSampler,
        progress: Callable[[], tuple[int, int]],
        batch_size: int,
        set_batches: Callable[[int], None] = lambda batches: None,
        **options: Any,
    ) -> None:
        super().__init__(
            samples, batch_size, sampler=sampler, drop_last=True, collate_fn=collate, **options
        )
        self.epoch_sampler, self.progress, self.set_batches = sampler, progress, set_batches

    def state_dict(self) -> dict[str, int]:
        """Return the progress of the training."""
        epoch, batches = self.progress()
        return {'epoch': epoch, 'batches': batches, 'samples': batches * self._samples}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the samples of a stored progress, whose count earlier versions lack."""
        batches = state.get('samples', state['batches'] * self._samples) // self._samples
        self.epoch_sampler.resume(state['epoch'], batches * (self.batch_size or 1))
        if batches != state['batches']:
            self.set_batches(batches)

    @property
    def _samples(self) -> int:
        """Samples in a batch of all processes."""
        return (self.batch_size or 1) * self.epoch_sampler.world_size


def start_worker(worker: int) -> None:
    """Limit a loader's worker process to one CPU core, and leave SIGINT and SIGTERM to its parent.

    A terminal, `timeout` and job schedulers signal all processes of a training. A worker that
    ended would fail the training before it has written its checkpoint.
    """
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The thread takes the blocked signals, so the main thread continues with its sample.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ignore SIGTERM of other processes; the parent ends its workers by it when it exits."""
    parent = parent_process()
    assert parent is not None
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        pass
    os._exit(0)
