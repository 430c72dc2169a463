"""Training and validation data by name."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from panoptic_ros.labels import LabelSet

from .data.augment import Augment, AugmentConfig
from .data.readers import open_reader
from .data.sample import Batch, Sample, collate, only
from .draws import Draws, FixedSamples, TrainingSamples, one_thread


class PanopticData(L.LightningDataModule):
    """A data set's splits `train` and `val`, opened and checked before the training starts.

    Args:
        dataset: `synthetic`, or a data set and its folder, `camvid:<folder>`.
        input_size: (height, width) of the network's input, px.
        crop: (height, width) of the training crops, px; the input's size where null.
        batch_size: images in a step, on each device.
        augment: strength of the augmentation.
        train: further arguments of the reader for the split `train`.
        val: further arguments of the reader for the split `val`.
        num_workers: processes that load data.
        seed: of the order of samples and of everything random about them.
    """

    def __init__(self, dataset: str, input_size: tuple[int, int],
                 crop: tuple[int, int] | None = None, batch_size: int = 8,
                 augment: AugmentConfig = AugmentConfig(),  # noqa: B008  frozen
                 train: dict[str, Any] | None = None, val: dict[str, Any] | None = None,
                 num_workers: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.train_reader = open_reader(dataset, 'train', **(train or {}))
        self.val_reader = open_reader(dataset, 'val', **(val or {}))
        self.augment = Augment(augment, input_size, crop or input_size)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        if len(self.train_reader) < batch_size:
            raise ValueError(f'data.batch_size {batch_size} is more than the '
                             f'{len(self.train_reader)} training samples of {dataset}')

    @property
    def labels(self) -> LabelSet:
        """Classes of the data set."""
        return self.train_reader.labels

    @property
    def share(self) -> tuple[int, int]:
        """Number of this process, and how many share the samples."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of augmented samples, in an order that seed and epoch fix."""
        return self._loader(
            TrainingSamples(self.train_reader, self.augment), batch_size=self.batch_size,
            sampler=Draws(self.train_reader, self.seed, *self.share), drop_last=True,
            collate_fn=collate)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Samples as they are, one at a time."""
        return self._loader(FixedSamples(self.val_reader, *self.share), batch_size=1,
                            collate_fn=only)

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        return DataLoader(dataset, num_workers=self.num_workers, worker_init_fn=one_thread,
                          persistent_workers=self.num_workers > 0,
                          pin_memory=torch.cuda.is_available(), **options)

    def transfer_batch_to_device(self, batch: Any, device: torch.device,
                                 dataloader_idx: int) -> Any:
        """Moves batches; a validation sample stays as it is, `predict` moves its image."""
        if isinstance(batch, Batch):
            return Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))
        return batch
