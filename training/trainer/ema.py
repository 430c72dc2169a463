# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the weights."""

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from ..checkpoint import NonFiniteError


class EMA(WeightAveraging):
    """Exponential moving average of weights and norm statistics.

    Validation uses the average, and checkpoints hold it as their `state_dict`.

    Args:
        decay: share of the average that a step keeps. Step n keeps (1 + n) / (10 + n) if that is
            less, so that the initial weights lose their influence early.
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
        """Swap the average into the module."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Swap the training weights back into the module."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the training weights in the module; `LastCheckpoint` saves both."""

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Swap the training weights back before `LastCheckpoint` saves them."""
        if self._swapped:
            self.on_validation_epoch_end(trainer, pl_module)
        if isinstance(exception, NonFiniteError) and self._average_model is not None:
            # The network has already added the failed batch to its norm statistics.
            for average, current in zip(
                self._average_model.module.buffers(), pl_module.buffers(), strict=True
            ):
                if not current.isfinite().all():
                    current.copy_(average)
