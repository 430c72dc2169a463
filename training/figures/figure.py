# SPDX-License-Identifier: Apache-2.0
"""Declaration of a figure, and the image that it is drawn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_info import ModelInfo, Outputs
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.runtime.predictor import Predictor, to_frame

from ..data.sample import Sample
from ..evaluation.panels import Rgb, classes_of, fit, frame_at, frame_of_truth, nearest, paint

Floats = npt.NDArray[np.float32]


class NotDrawnError(ValueError):
    """A figure that cannot be drawn for this image or model; the message says why."""


@dataclass(frozen=True)
class View:
    """One image with its labels, its network input and its prediction."""

    name: str
    """Name of the image in the data set."""

    sample: Sample

    pixels: Rgb
    """Input of the network, (H, W, 3) RGB; the image is in its top left corner."""

    frame: PanopticFrame
    """The prediction."""

    info: ModelInfo
    """Description of the model."""

    @property
    def labels(self) -> LabelSet:
        """The classes of model and data."""
        return self.info.network_labels

    def batch(self, model: PanopticModel) -> Tensor:
        """Return the network's input on the model's device, (1, 3, H, W) uint8."""
        return torch.from_numpy(self.pixels).to(model.mean.device).permute(2, 0, 1)[None]

    def cells(self, values: Tensor, stride: int) -> Floats:
        """Return the part of a map (..., h, w) that shows the image, without the padding.

        Args:
            values: of the network's input.
            stride: input pixels per cell.
        """
        height, width = self.cells_size(stride)
        return np.asarray(values[..., :height, :width].float().cpu().numpy(), np.float32)

    def frame_of(self, segments: SegmentTensors) -> PanopticFrame:
        """Return a frame of the image from what a model decoded."""
        outputs = Outputs(*(value.cpu().numpy() for value in segments))
        return to_frame(outputs, self.info, self.frame.geometry, stamp_s=0)

    def cells_size(self, stride: int) -> tuple[int, int]:
        """Return (h, w) of the part of a map that shows the image."""
        height, width = self.frame.geometry.content_size
        return -(-height // stride), -(-width // stride)

    def true_cells(self, stride: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return class map and instance map of the labels at a stride, both (h, w)."""
        size = self.cells_size(stride)
        return nearest(self.sample.class_map, size), nearest(self.sample.instance_map, size)

    def panel_size(self, width: int) -> tuple[int, int]:
        """Return (height, width) of a picture of the image, px."""
        height, full = self.frame.geometry.image_size
        return max(1, round(height * width / full)), width

    def picture(self, width: int) -> Rgb:
        """Return the image scaled to a width, px, RGB."""
        return fit(self.sample.image, self.panel_size(width))

    def prediction(self, width: int, frame: PanopticFrame | None = None) -> Rgb:
        """Draw a frame of the image, by default the prediction, over it."""
        shown = frame_at(
            self.frame if frame is None else frame, self.labels, self.panel_size(width)
        )
        return paint(self.picture(width), shown, self.labels)

    def truth(self, width: int) -> Rgb:
        """Draw the labels over the image."""
        shown = frame_of_truth(self.sample, self.labels, self.panel_size(width))
        return paint(self.picture(width), shown, self.labels)

    def class_ids(self) -> list[int]:
        """Return the classes of prediction and labels, for a legend."""
        size = self.frame.geometry.image_size
        return classes_of(self.frame, frame_of_truth(self.sample, self.labels, size))


class Choice(NamedTuple):
    """What a user may choose for the figures that show it."""

    pixel: tuple[int, int] | None = None
    """(x, y) in the image, px."""

    class_id: int | None = None


class Figure(NamedTuple):
    """Row of the registry."""

    name: str
    """Family and number in the paper, the start of the file's name."""

    draw: Callable[[Any, Sequence[View], Choice], Rgb]
    """Draws it from model, views (one, or the frames of a video) and the user's choice."""

    frames: int = 1
    """Number of images: 1, or that of the successive frames of a video."""


def view_of(predictor: Predictor, sample: Sample, name: str) -> View:
    """Run a predictor on a sample."""
    pixels, geometry = predictor.prepare(CameraImage(sample.image, 'rgb'))
    frame = predictor.predict(sample.image)
    assert frame.geometry == geometry
    return View(name, sample, pixels.copy(), frame, predictor.info)
