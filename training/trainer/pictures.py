# SPDX-License-Identifier: Apache-2.0
"""Callback that logs pictures of predictions and ground truth, and of a family's maps."""

from dataclasses import replace
from typing import Any, cast

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from panoptic_ros.core.image import CameraImage

from ..evaluation.map_pictures import SCALE, draw_maps
from ..evaluation.panels import draw_panels
from .module import PanopticModule

PANEL_WIDTH = 512
"""Width to which images are scaled, px."""


class Pictures(L.Callback):
    """Callback that writes pictures of validation images to TensorBoard.

    `val` shows image, ground truth and prediction, `maps` what the family decodes it from.

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
        module = cast(PanopticModule, pl_module)
        labels = replace(module.labels, own_colors=self.own_colors)
        title = f'image {batch_idx}, step {trainer.global_step}'
        pixels, _ = module.predictor.prepare(CameraImage(batch.image, 'rgb'))
        for tag, picture in (
            ('val', draw_panels(batch, outputs, labels, PANEL_WIDTH, title)),
            ('maps', draw_maps(module.model, pixels, PANEL_WIDTH, f'{title}; {SCALE}')),
        ):
            if picture is not None:
                trainer.logger.experiment.add_image(
                    f'{tag}/{batch_idx}', picture, trainer.global_step, dataformats='HWC'
                )
