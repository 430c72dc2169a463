# SPDX-License-Identifier: Apache-2.0
"""What PISR's block sees and changes, as maps and pictures (supplement, appendix E)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from panoptic_ros.core.image import CameraImage
from panoptic_ros.models.panoptic_deeplab.decode import window_of
from panoptic_ros.models.panoptic_deeplab.network import CenterMaps
from panoptic_ros.models.parts.peaks import find_peaks
from panoptic_ros.models.pisr.panoptic_deeplab import PISR
from panoptic_ros.runtime.predictor import Predictor

from .predictor import module_of
from .run import Evaluation
from .worst import Picture

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DebugMaps:
    """Maps of one class in one image at stride 4, each in [0, 1]."""

    class_before: Floats
    """The class's logits from the initial head, from their least to their greatest, (h, w)."""

    class_after: Floats
    """The same from the final head."""

    centers_before: Floats
    """Centres of the initial head on pixels of the class, blurred, (h, w)."""

    centers_after: Floats
    """The same of the final head."""

    instances: Floats
    """Heatmaps of the encoded instances, the most confident first, (n, h, w)."""


def pisr_model(predictor: Predictor, path: Path, class_name: str) -> PISR:
    """The module that a predictor runs, whose debug maps of a class are wanted.

    Args:
        predictor: of a checkpoint or a model file.
        path: where that is.
        class_name: one of its classes.

    Raises:
        ValueError: if it has no such class, or is no model with PISR's block.
    """
    predictor.info.labels.class_ids([class_name])
    model = module_of(predictor, path) if predictor.info.family == PISR.family else None
    if not isinstance(model, PISR) or not model.config.enabled:
        raise ValueError(
            'debug maps need a model of family pisr with enabled: true, '
            f'got {predictor.info.family}'
        )
    return model


def debug_pictures(
    model: PISR, class_name: str, predictor: Predictor, evaluation: Evaluation, n: int
) -> Iterator[Picture]:
    """Names and debug panels of the n worst images of an evaluation, the worst first."""
    (class_id,) = model.labels.class_ids([class_name])
    for image in evaluation.worst(n):
        sample = evaluation.reader.read(image.index, 0)
        pixels, _ = predictor.prepare(CameraImage(sample.image, 'rgb'))
        yield (
            evaluation.reader.image_ids[image.index],
            debug_panel(pixels, debug_maps(model, pixels, class_id)),
        )


@torch.no_grad()
def debug_maps(
    model: PISR, image: npt.NDArray[np.uint8], class_id: int, blur: float = 1.5
) -> DebugMaps:
    """The maps of the supplement's figures 4, 5 and E.1.

    Args:
        model: in eval mode, its block enabled.
        image: RGB of a size that the network takes, (H, W, 3).
        class_id: the class to look at.
        blur: standard deviation of the Gaussian over the centres, stride-4 cells.

    Raises:
        ValueError: if the block is not enabled or there is no such class.
    """
    if not model.config.enabled:
        raise ValueError('debug maps need a pisr model with enabled: true')
    if not 0 <= class_id < len(model.labels):
        raise ValueError(f'class_id must lie in 0 to {len(model.labels) - 1}, got {class_id}')
    device = next(model.parameters()).device
    maps = model.maps(torch.from_numpy(image).to(device).permute(2, 0, 1)[None])
    assert maps.initial is not None and maps.heatmaps is not None and maps.alive is not None
    window = window_of(model.config.nms_kernel)
    before, after = (
        (_class_map(m, class_id), _centers(m, class_id, window, blur))
        for m in (maps.initial, maps.final)
    )
    return DebugMaps(
        before[0], after[0], before[1], after[1], maps.heatmaps[0][maps.alive[0]].cpu().numpy()
    )


def _class_map(maps: CenterMaps, class_id: int) -> Floats:
    logits: Floats = maps.semantic_logits[0, class_id].cpu().numpy()
    return _stretch(logits)


def _centers(maps: CenterMaps, class_id: int, window: int, blur: float) -> Floats:
    heatmap = maps.center_heatmap[0]
    # All of them: with as many places as cells, those that are no peaks come out far below 0.
    height, place = find_peaks(heatmap, window, heatmap.numel())
    peaks = torch.zeros_like(heatmap).flatten().index_copy_(0, place, height.clamp(min=0))
    of_class = maps.semantic_logits[0].argmax(dim=0) == class_id
    spread = ndimage.gaussian_filter((peaks.view_as(of_class) * of_class).cpu().numpy(), blur)
    return _stretch(spread)


def _stretch(values: npt.NDArray[Any]) -> Floats:
    """From the least value at 0 to the greatest at 1; all 0 where they are equal."""
    low, high = float(values.min()), float(values.max())
    stretched: Floats = ((values - low) / max(high - low, 1e-12)).astype(np.float32)
    return stretched


def heat_picture(
    image: npt.NDArray[np.uint8], heat: npt.NDArray[Any], opacity: float = 0.5
) -> npt.NDArray[np.uint8]:
    """A map over its image, from blue for 0 to red for 1.

    Args:
        image: RGB, (H, W, 3).
        heat: in [0, 1], of any size.
        opacity: of the colours.

    Returns:
        (H, W, 3) RGB.
    """
    height, width = image.shape[:2]
    level = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    colors = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    mixed: npt.NDArray[np.uint8] = np.rint(image * (1 - opacity) + colors * opacity).astype(
        np.uint8
    )
    return mixed


def debug_panel(image: npt.NDArray[np.uint8], maps: DebugMaps) -> npt.NDArray[np.uint8]:
    """Above, class and centres before and after the block; below, the first four instances.

    Args:
        image: RGB, (H, W, 3).
        maps: of it.

    Returns:
        (2 H, 4 W, 3) RGB.
    """
    above = [
        heat_picture(image, heat)
        for heat in (maps.class_before, maps.class_after, maps.centers_before, maps.centers_after)
    ]
    below = [heat_picture(image, heat) for heat in maps.instances[: len(above)]]
    below += [np.zeros_like(image)] * (len(above) - len(below))
    return np.vstack([np.hstack(above), np.hstack(below)])
