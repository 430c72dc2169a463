# SPDX-License-Identifier: Apache-2.0
"""What happens around the steps of a training: averaged weights, pictures, stopping."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from ..checkpoint import NonFiniteError, non_finite_weight
from .module import PanopticModule
from .pictures import panel


class EMA(WeightAveraging):
    """Exponential moving average of weights and norm statistics.

    Validation uses it and checkpoints hold it as their `state_dict`.

    Args:
        decay: part of the average that a step keeps. Early steps keep less,
            (1 + n) / (10 + n), so that the first weights are soon forgotten.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f'EMA decay must lie in 0 to below 1, got {decay}')

        def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            keep = min(decay, (1 + float(count)) / (10 + float(count)))
            return (
                torch.lerp(averaged, current, 1 - keep)
                if averaged.is_floating_point()
                else current
            )

        super().__init__(avg_fn=average)
        self._swapped = False

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the average in."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the training weights back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the training weights in place: `LastCheckpoint` saves them beside the average."""

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Puts the training weights back before `LastCheckpoint` saves them as such."""
        if self._swapped:
            self.on_validation_epoch_end(trainer, pl_module)
        if isinstance(exception, NonFiniteError) and self._average_model is not None:
            # The network has already added the failed batch to its norm statistics.
            for average, current in zip(
                self._average_model.module.buffers(), pl_module.buffers(), strict=True
            ):
                if not current.isfinite().all():
                    current.copy_(average)


class StartedCheckpoint(ModelCheckpoint):
    """A checkpoint that knows whether this process has finished a step of the training."""

    started = False
    _start = 0

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the best score of a folder that was moved or copied.

        Lightning drops it where the path differs, and a worse model would replace `best.ckpt`.
        """
        folder, state = Path(str(self.dirpath)), checkpoint['callbacks'].get(self.state_key)
        if state and Path(str(trainer.ckpt_path)).resolve().parent == folder.resolve():

            def here(path: str) -> str:
                return str(folder / Path(path).name) if path else ''

            state['dirpath'] = str(self.dirpath)
            for key in ('best_model_path', 'kth_best_model_path', 'last_model_path'):
                state[key] = here(state[key])
            state['best_k_models'] = {
                here(path): score for path, score in state['best_k_models'].items()
            }

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes where this process starts."""
        super().on_train_start(trainer, pl_module)
        self._start = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notes the first step."""
        # Lightning still finishes the step during which SIGTERM comes. If that is the only one,
        # nothing is saved. A dry run, `fast_dev_run`, is to leave no checkpoint at all.
        if (
            trainer.global_step > self._start
            and not trainer.received_sigterm
            and not trainer.fast_dev_run  # type: ignore[attr-defined]
        ):
            self.started = True
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class BestCheckpoint(StartedCheckpoint):
    """Keeps `best.ckpt`: the highest PQ in validation."""

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath, 'best', monitor='val/pq', mode='max', enable_version_counter=False
        )

    def _should_skip_saving_checkpoint(self, trainer: L.Trainer) -> bool:
        # A training that was stopped in a validation resumes with it, before any step.
        return super()._should_skip_saving_checkpoint(trainer) or (
            trainer.received_sigterm and not self.started
        )


class LastCheckpoint(StartedCheckpoint):
    """Keeps `last.ckpt`: after each validation, at the end, and when a training is stopped.

    Ctrl-C, SIGTERM and errors all leave it, so `--ckpt_path last` resumes from there. An older
    file stays until this process has finished a step. No file holds weights that are not finite.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(dirpath, 'last', enable_version_counter=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the end."""
        if self.started:
            # All of it, not the weights only: optimiser, progress and averages too.
            trainer.save_checkpoint(self._path, weights_only=False)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Saves where the training was stopped."""
        if not self.started:
            return
        if isinstance(exception, NonFiniteError) and self._path.exists():
            return  # The file's weights are from before the loss grew.
        _count_whole_ones(trainer)
        connector: Any = trainer._checkpoint_connector
        checkpoint = connector.dump_checkpoint(weights_only=False)
        if non_finite_weight(checkpoint) is None:
            # Without the barrier of `save_checkpoint`: other processes may be stuck elsewhere.
            trainer.strategy.save_checkpoint(checkpoint, self._path)

    def _should_skip_saving_checkpoint(self, trainer: L.Trainer) -> bool:
        return super()._should_skip_saving_checkpoint(trainer) or not self.started

    @property
    def _path(self) -> Path:
        return Path(str(self.dirpath)) / 'last.ckpt'


def _count_whole_ones(trainer: L.Trainer) -> None:
    """Takes a batch that was stopped half-way as not begun, and so a whole validation.

    Lightning would keep the batch in its count for validations, and score the images that a
    stopped validation still lacked as if they were all.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    progress = loop.val_loop.batch_progress if trainer.validating else loop.batch_progress
    progress.is_last_batch = False
    for count in (progress.total, progress.current):
        if trainer.validating:  # as when its first image was stopped
            count.ready = count.started = 1
            count.processed = count.completed = 0
        else:
            count.ready = count.started = count.completed = count.processed


class Pictures(L.Callback):
    """Writes input, prediction and ground truth of some validation images to TensorBoard.

    Args:
        count: of images, from the start of the validation data.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds a picture."""
        if batch_idx >= self.count or not isinstance(trainer.logger, TensorBoardLogger):
            return
        picture = panel(batch, outputs, cast(PanopticModule, pl_module).labels)
        trainer.logger.experiment.add_image(
            f'val/{batch_idx}', picture, trainer.global_step, dataformats='HWC'
        )
