# SPDX-License-Identifier: Apache-2.0
"""Callback that logs pictures of predictions next to the ground truth."""

from dataclasses import replace
from typing import Any, cast

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from ..evaluation.panels import draw_panels
from .module import PanopticModule

PANEL_WIDTH = 512
"""Width to which images are scaled, px."""


class Pictures(L.Callback):
    """Callback that writes image, prediction and ground truth of validation images to TensorBoard.

    Args:
        count: number of images, from the start of the validation data.
        own_colors: whether classes have the colours of the data set, instead of those that are
            easy to tell apart.
    """

    def __init__(self, count: int = 4, own_colors: bool = False) -> None:
        self.count = count
        self.own_colors = own_colors

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the picture of an image."""
        if batch_idx >= self.count or not isinstance(trainer.logger, TensorBoardLogger):
            return
        labels = replace(cast(PanopticModule, pl_module).labels, own_colors=self.own_colors)
        picture = draw_panels(
            batch, outputs, labels, PANEL_WIDTH, f'step {trainer.global_step}, image {batch_idx}'
        )
        trainer.logger.experiment.add_image(
            f'val/{batch_idx}', picture, trainer.global_step, dataformats='HWC'
        )
