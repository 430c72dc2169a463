# SPDX-License-Identifier: Apache-2.0
"""Pictures of a family's dense predictions, which its decoding starts from."""

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from panoptic_ros.models.base import PanopticModel

from .panels import Rgb, fit, stack_panels

Floats = npt.NDArray[np.float32]

SCALE = 'the lowest value is dark blue, the highest yellow'
"""Colours of `heat_picture` in words."""

COLUMNS = 4
"""Most pictures in a row."""


@torch.no_grad()
def draw_maps(model: PanopticModel, image: Rgb, width: int, title: str = '') -> Rgb | None:
    """Draw the dense predictions for an image, each with its name and range as a caption.

    Args:
        model: model in eval mode.
        image: RGB of a size that the network accepts, (H, W, 3).
        width: width of a picture, px.
        title: text above all.

    Returns:
        (H', W', 3) RGB; None for a family without predictions of the image's shape.
    """
    pixels = torch.from_numpy(image).to(model.mean.device).permute(2, 0, 1)[None]
    base = fit(image, (max(1, round(image.shape[0] * width / image.shape[1])), width))
    found = [
        (f'{name}: {values.min():.3g} to {values.max():.3g}', heat_picture(base, stretch(values)))
        for name, values in dense_predictions(model.maps(pixels), image.shape[:2])
    ]
    rows = [dict(found[i : i + COLUMNS]) for i in range(0, len(found), COLUMNS)]
    return stack_panels(rows, title) if rows else None


def dense_predictions(
    maps: Any, size: tuple[int, ...], prefix: str = ''
) -> Iterator[tuple[str, Floats]]:
    """Yield name and values (h, w) of the predictions for the first image that have its shape.

    Logits and heatmaps of several classes show the highest one, offsets their length, embeddings
    their first principal component.

    Args:
        maps: what `PanopticModel.maps` returns, named tuples of tensors.
        size: (H, W) of the image, px.
        prefix: precedes the names.
    """
    for name, value in zip(maps._fields, maps, strict=True):
        title = f'{prefix}{name.replace("_", " ")}'
        if hasattr(value, '_fields'):
            yield from dense_predictions(value, size, f'{title}: ')
        elif isinstance(value, Tensor) and value.ndim in (3, 4):
            stride = max(1, round(size[1] / value.shape[-1]))
            # Other tensors are tables, such as one row per query.
            if value.shape[-2:] == (math.ceil(size[0] / stride), math.ceil(size[1] / stride)):
                yield title, _one_channel(value[0].float().cpu().numpy(), name)


def _one_channel(values: Floats, name: str) -> Floats:
    """Reduce (h, w) or (C, h, w) to (h, w)."""
    if values.ndim == 2:
        return values
    if len(values) == 1 or 'logits' in name or 'heatmap' in name:
        return np.asarray(values.max(axis=0), np.float32)
    if 'offset' in name:
        return np.asarray(np.linalg.norm(values, axis=0), np.float32)
    flat = values.reshape(len(values), -1).astype(np.float64)
    centred = flat - flat.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return np.asarray(vectors[:, -1] @ centred, np.float32).reshape(values.shape[1:])


def stretch(values: npt.NDArray[Any]) -> Floats:
    """Scale values from their minimum to their maximum to 0 to 1; 0 if all are equal."""
    low, high = float(values.min()), float(values.max())
    stretched: Floats = ((values - low) / max(high - low, 1e-12)).astype(np.float32)
    return stretched


def heat_picture(
    image: npt.NDArray[np.uint8], heat: npt.NDArray[Any], opacity: float = 0.6
) -> npt.NDArray[np.uint8]:
    """Draw a map over its image, from dark blue for 0 to yellow for 1.

    The colours (Cividis) also rise in brightness and look alike to colour-blind people.

    Args:
        image: RGB, (H, W, 3).
        heat: map in [0, 1], of any size.
        opacity: opacity of the colours, 0 to 1.

    Returns:
        (H, W, 3) RGB.
    """
    height, width = image.shape[:2]
    level = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    colors = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed: npt.NDArray[np.uint8] = np.rint(grey * (1 - opacity) + colors * opacity).astype(
        np.uint8
    )
    return mixed
