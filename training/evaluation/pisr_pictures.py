# SPDX-License-Identifier: Apache-2.0
"""Pictures of the maps before and after PISR's block (supplement, appendix E)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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

from .map_pictures import SCALE, heat_picture, stretch
from .panels import fit, stack_panels
from .predictor import module_of
from .run import Evaluation
from .worst import Picture

Floats = npt.NDArray[np.float32]

PANEL_WIDTH = 640
"""Width to which pictures are scaled, px."""


@dataclass(frozen=True)
class DebugMaps:
    """Maps of one class in one image at stride 4, each in [0, 1]."""

    class_before: Floats
    """Logits of the class from the initial head, minimum and maximum scaled to 0 and 1, (h, w)."""

    class_after: Floats
    """Logits of the class from the final head, scaled in the same way, (h, w)."""

    centers_before: Floats
    """Centres of the initial head on pixels of the class, blurred, (h, w)."""

    centers_after: Floats
    """Centres of the final head on pixels of the class, blurred, (h, w)."""

    instances: Floats
    """Heatmaps of the encoded instances, the most confident first, (n, h, w)."""


def pisr_model(predictor: Predictor, path: Path, class_name: str) -> PISR:
    """Return the module that a predictor runs, if debug maps of a class can be drawn.

    Args:
        predictor: predictor of a checkpoint or a model file.
        path: path of that file.
        class_name: one of its classes.

    Raises:
        ValueError: if the model has no such class or no PISR block.
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
    """Yield names and debug panels of the n worst images of an evaluation, the worst first."""
    (class_id,) = model.labels.class_ids([class_name])
    for image in evaluation.worst(n):
        sample = evaluation.reader.read(image.index, 0)
        pixels, _ = predictor.prepare(CameraImage(sample.image, 'rgb'))
        name = evaluation.reader.image_names[image.index]
        title = f'{name}: PQ {image.pq:.1f}; {SCALE}'
        maps = debug_maps(model, pixels, class_id)
        yield name, debug_panel(pixels, maps, class_name, title)


@torch.no_grad()
def debug_maps(
    model: PISR, image: npt.NDArray[np.uint8], class_id: int, blur: float = 1.5
) -> DebugMaps:
    """Compute the maps of the supplement's figures 4, 5 and E.1.

    Args:
        model: model in eval mode with its block enabled.
        image: RGB of a size that the network accepts, (H, W, 3).
        class_id: the class.
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
        (
            stretch(m.semantic_logits[0, class_id].cpu().numpy()),
            _centers(m, class_id, window, blur),
        )
        for m in (maps.initial, maps.final)
    )
    return DebugMaps(
        before[0], after[0], before[1], after[1], maps.heatmaps[0][maps.alive[0]].cpu().numpy()
    )


def _centers(maps: CenterMaps, class_id: int, window: int, blur: float) -> Floats:
    heatmap = maps.center_heatmap[0]
    # All peaks: with k = number of cells, cells that are no peak have a height far below 0.
    height, place = find_peaks(heatmap, window, heatmap.numel())
    peaks = torch.zeros_like(heatmap).flatten().index_copy_(0, place, height.clamp(min=0))
    of_class = maps.semantic_logits[0].argmax(dim=0) == class_id
    return stretch(
        ndimage.gaussian_filter((peaks.view_as(of_class) * of_class).cpu().numpy(), blur)
    )


def debug_panel(
    image: npt.NDArray[np.uint8], maps: DebugMaps, class_name: str, title: str = ''
) -> npt.NDArray[np.uint8]:
    """Draw class and centres before and after the block; below them the first four instances.

    Args:
        image: RGB, (H, W, 3).
        maps: its maps.
        class_name: the class of the maps.
        title: text above all.

    Returns:
        (H', 4 W', 3) RGB, with a caption on each picture.
    """
    height = round(image.shape[0] * PANEL_WIDTH / image.shape[1])
    image = fit(image, (height, PANEL_WIDTH))
    above = {
        f'{class_name}, before the block': maps.class_before,
        f'{class_name}, after the block': maps.class_after,
        f'centres of {class_name}, before': maps.centers_before,
        f'centres of {class_name}, after': maps.centers_after,
    }
    below = {f'instance {i}': heat for i, heat in enumerate(maps.instances[: len(above)], 1)}
    return stack_panels(
        [
            {text: heat_picture(image, heat) for text, heat in row.items()}
            for row in (above, below)
            if row
        ],
        title,
    )
