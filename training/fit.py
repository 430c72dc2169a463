"""A module's prediction on a numpy image: what the node does around the graph, for torch."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch

from panoptic_ros.frame import Geometry
from panoptic_ros.models.base import PanopticModel


def fit_image(image: npt.NDArray[np.uint8], geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Scales an image into the top left corner of the network's input; the rest is black."""
    height, width = geometry.content_size
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA
                        if geometry.scale < 1 else cv2.INTER_LINEAR)
    bottom, right = geometry.input_size[0] - height, geometry.input_size[1] - width
    return cv2.copyMakeBorder(scaled, 0, bottom, 0, right, cv2.BORDER_CONSTANT)


@torch.no_grad()
def predict(model: PanopticModel, image: npt.NDArray[np.uint8], input_size: tuple[int, int],
            stride: int) -> tuple[npt.NDArray[np.int32], dict[int, int]]:
    """Runs a model's own forward on an image of any size.

    Args:
        model: in eval mode.
        image: (H, W, 3) RGB.
        input_size: (height, width) of the network's input.
        stride: input pixels per cell of the decoded maps.

    Returns:
        segment map (H, W), 0 = void, and the class id of each segment.
    """
    geometry = Geometry(image.shape[:2], input_size, stride)
    pixels = torch.from_numpy(fit_image(image, geometry)).to(next(model.parameters()).device)
    outputs = model(pixels, **model.default_thresholds())
    rows = outputs.valid.nonzero()[:, 0].tolist()
    class_id = outputs.class_id.tolist()
    height, width = geometry.map_size
    segment_map = outputs.segment_map[:height, :width].cpu().numpy()
    return geometry.to_camera(segment_map), {row + 1: class_id[row] for row in rows}
