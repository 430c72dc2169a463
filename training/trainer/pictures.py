# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions next to the ground truth, and the callback that logs them."""

from collections.abc import Mapping
from typing import Any, cast

import lightning as L
import numpy as np
import numpy.typing as npt
from lightning.pytorch.loggers import TensorBoardLogger

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID, LabelSet

from ..data.sample import Sample
from ..evaluation.scoring import gt_segments
from .module import PanopticModule

SHADES = np.array([1.0, 0.7, 0.85, 0.55])
"""Brightness of things by segment id modulo 4, so that neighbours differ."""


def paint(
    segment_map: npt.NDArray[Any], classes: Mapping[int, int], labels: LabelSet
) -> npt.NDArray[np.uint8]:
    """Colour segments by class; things have different shades and a white edge.

    Args:
        segment_map: (H, W) segment id, 0 = void.
        classes: class id of each segment.
        labels: the classes with their colours.

    Returns:
        (H, W, 3) RGB.
    """
    top = max(classes, default=0) + 1
    class_of = np.full(top, VOID_ID)
    class_of[list(classes)] = list(classes.values())
    is_thing = np.append(labels.is_thing, np.zeros(256 - len(labels), bool))[class_of]
    shade = np.where(is_thing, SHADES[np.arange(top) % len(SHADES)], 1.0)
    picture = (labels.colors[class_of] * shade[:, None]).astype(np.uint8)[segment_map]
    thing = np.where(is_thing[segment_map], segment_map, 0)
    edge = np.zeros(thing.shape, bool)
    edge[1:] |= thing[1:] != thing[:-1]
    edge[:, 1:] |= thing[:, 1:] != thing[:, :-1]
    picture[edge] = 255
    return picture


def panel(sample: Sample, frame: PanopticFrame, labels: LabelSet) -> npt.NDArray[np.uint8]:
    """Return image, prediction and ground truth side by side, (H, 3 W, 3) RGB."""
    gt_map, gt_classes, _ = gt_segments(sample, labels.is_thing)
    predicted = paint(frame.geometry.to_camera(frame.segment_map), frame.class_of_segment, labels)
    return np.hstack([sample.image, predicted, paint(gt_map, gt_classes, labels)])


class Pictures(L.Callback):
    """Callback that writes image, prediction and ground truth of validation images to TensorBoard.

    Args:
        count: number of images, from the start of the validation data.
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
        """Write the picture of an image."""
        if batch_idx >= self.count or not isinstance(trainer.logger, TensorBoardLogger):
            return
        picture = panel(batch, outputs, cast(PanopticModule, pl_module).labels)
        trainer.logger.experiment.add_image(
            f'val/{batch_idx}', picture, trainer.global_step, dataformats='HWC'
        )
