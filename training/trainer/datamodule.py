# SPDX-License-Identifier: Apache-2.0
"""Data module: training and validation data by the name of a data set."""

import logging
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from panoptic_ros.core.labels import LabelSet

from ..data.augment import Augment, AugmentConfig
from ..data.class_table import require_same_classes
from ..data.registry import open_reader
from ..data.sample import Batch, Sample, only
from ..data.skipping import Skipping
from .sampler import EpochSampler, FixedSamples, TrainingLoader, TrainingSamples, start_worker

logger = logging.getLogger(__name__)

MAP_STRIDE = 4
"""Largest stride of the maps that losses use; crops are multiples of it."""


class PanopticData(L.LightningDataModule):
    """Splits `train` and `val` of a data set, opened and checked before the training starts.

    Args:
        dataset: `synthetic`, or a data set and its folder, `camvid:<folder>`.
        input_size: (height, width) of the network's input, px.
        crop: (height, width) of the training crops, px; null for the input's size.
        batch_size: images per step and device.
        augment: strength of the augmentation.
        train: further arguments of the reader of the split `train`.
        val: further arguments of the reader of the split `val`.
        on_error: on bad files `fail`, or `skip` them: files with faulty names or headers are left
            out from the start, others are replaced by the next image when they are read; both are
            logged and counted.
        num_workers: number of processes that load data.
        seed: of the order of samples and of all random choices.
    """

    def __init__(
        self,
        dataset: str,
        input_size: tuple[int, int],
        crop: tuple[int, int] | None = None,
        batch_size: int = 8,
        augment: AugmentConfig = AugmentConfig(),  # noqa: B008  frozen
        train: dict[str, Any] | None = None,
        val: dict[str, Any] | None = None,
        on_error: str = 'fail',
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (('batch_size', batch_size, 1), ('num_workers', num_workers, 0)):
            if value < least:
                raise ValueError(f'data.{name} must be at least {least}, got {value}')
        self.train_reader = open_reader(dataset, 'train', on_error, **(train or {}))
        self.val_reader = open_reader(dataset, 'val', on_error, **(val or {}))
        require_same_classes(
            self.train_reader.labels, f'{dataset} train', self.val_reader.labels, 'val'
        )
        if any(n < 1 or n % MAP_STRIDE for n in crop or input_size):
            raise ValueError(
                f'data.{"crop" if crop else "input_size"} must be multiples of '
                f'{MAP_STRIDE}, got {crop or input_size}'
            )
        self.augment = Augment(augment, input_size, crop or input_size)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    @property
    def labels(self) -> LabelSet:
        """The classes of the data set."""
        return self.train_reader.labels

    @property
    def share(self) -> tuple[int, int]:
        """Rank of this process, and number of processes that share the samples."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def progress(self) -> tuple[int, int]:
        """Epoch, and number of its finished batches; an interrupted batch is repeated."""
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        return (
            loop.epoch_progress.current.processed,
            loop.epoch_loop.batch_progress.current.processed,
        )

    def _set_batches(self, batches: int) -> None:
        """Set the number of the epoch's batches that are done, in Lightning's counts too."""
        if self.trainer is not None:
            loop: Any = self.trainer.fit_loop.epoch_loop
            current = loop.batch_progress.current
            change = batches - current.processed
            for name in ('ready', 'started', 'processed', 'completed'):
                setattr(current, name, max(0, getattr(current, name) + change))

    def train_dataloader(self) -> TrainingLoader:
        """Return the loader of augmented samples, whose order depends on seed and epoch only.

        Raises:
            ValueError: if the samples do not fill a batch in each process.
        """
        self.require_batch(self.share[1])
        sampler = EpochSampler(self.train_reader, self.seed, *self.share)
        return TrainingLoader(
            TrainingSamples(self.train_reader, self.augment),
            sampler,
            lambda: self.progress,
            self.batch_size,
            self._set_batches,
            **self._options,
        )

    def require_batch(self, processes: int) -> None:
        """Refuse a batch size above the number of samples of a process.

        Raises:
            ValueError: naming both numbers.
        """
        samples = len(EpochSampler(self.train_reader, self.seed, 0, processes))
        if samples < self.batch_size:
            raise ValueError(
                f'data.batch_size {self.batch_size} is more than the {samples} '
                'training samples of each process'
            )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return the loader of validation samples, without augmentation and one at a time."""
        return DataLoader(
            FixedSamples(self.val_reader, *self.share),
            batch_size=1,
            collate_fn=only,
            **self._options,
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {
            'num_workers': self.num_workers,
            'worker_init_fn': start_worker,
            'persistent_workers': self.num_workers > 0,
            'pin_memory': torch.cuda.is_available(),
        }

    def teardown(self, stage: str) -> None:
        """Log which samples were left out."""
        for split, reader in (('train', self.train_reader), ('val', self.val_reader)):
            if isinstance(reader, Skipping) and (summary := reader.summary()):
                logger.warning('%s: %s', split, summary)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move batches to the device; a validation sample stays, as `predict` moves its image."""
        if isinstance(batch, Batch):
            moved = (
                None if tensor is None else tensor.to(device, non_blocking=True)
                for tensor in batch
            )
            return Batch._make(moved)
        return batch
