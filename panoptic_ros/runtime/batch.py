# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of graphs that take one image or a fixed number of images at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_info import ModelInfo, Outputs

Run = Callable[[npt.NDArray[np.uint8], Mapping[str, Any]], Outputs]
"""See `Backend.run`."""


def run_images(
    run: Run,
    info: ModelInfo,
    images: Sequence[npt.NDArray[np.uint8]],
    thresholds: Sequence[Mapping[str, float]],
) -> list[Outputs]:
    """Run a graph on any number of images.

    Args:
        run: runs the graph.
        info: its description.
        images: (H, W, 3) uint8 RGB of the input size.
        thresholds: for each image a value for each threshold.

    Returns:
        The outputs for each image.
    """
    if info.batch == 1:
        return [run(image, own) for image, own in zip(images, thresholds, strict=True)]
    outputs: list[Outputs] = []
    for start in range(0, len(images), info.batch):
        part = slice(start, start + info.batch)
        stacked = run(*graph_inputs(info, images[part], thresholds[part]))
        outputs += split_outputs(stacked, len(images[part]))
    return outputs


def graph_inputs(
    info: ModelInfo,
    images: Sequence[npt.NDArray[np.uint8]],
    thresholds: Sequence[Mapping[str, float]],
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Return the inputs of a graph for one image up to `info.batch` images.

    Places without an image hold the last one again.
    """
    if info.batch == 1:
        return images[0], dict(thresholds[0])
    places = [min(i, len(images) - 1) for i in range(info.batch)]
    return np.stack([images[i] for i in places]), {
        name: np.array([thresholds[i][name] for i in places], np.float32)
        for name in info.thresholds
    }


def graph_feed(
    info: ModelInfo, image: npt.NDArray[np.uint8], thresholds: Mapping[str, float] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of a graph by name for one image, which fills all places of a batch.

    Args:
        info: description of the graph.
        image: (H, W, 3) uint8 RGB of the input size.
        thresholds: a value for each threshold; None is the model's defaults.
    """
    values = thresholds or {name: value.default for name, value in info.thresholds.items()}
    pixels, scalars = graph_inputs(info, [image], [values])
    return {'image': pixels, **{k: np.array(v, np.float32) for k, v in scalars.items()}}


def split_outputs(outputs: Outputs, count: int) -> list[Outputs]:
    """Return the outputs for the first `count` images of a batch."""
    arrays = {name: value for name, value in outputs._asdict().items() if value is not None}
    return [Outputs(**{name: value[i] for name, value in arrays.items()}) for i in range(count)]
