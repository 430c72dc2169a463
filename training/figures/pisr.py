# SPDX-License-Identifier: Apache-2.0
"""Figures 5, C.2 and E.1 of PISR: class maps with centres, encodings, heatmaps.

"Without the block" is the same network before it: the initial heads, and the encodings before
they are weighted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from panoptic_ros.core.captions import draw_text, style_for
from panoptic_ros.core.legend import class_name
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.panoptic_deeplab.decode import window_of
from panoptic_ros.models.panoptic_deeplab.network import PanopticDeepLab
from panoptic_ros.models.parts.peaks import find_peaks
from panoptic_ros.models.pisr.panoptic_deeplab import PISR, confident_centers

from ..evaluation.map_pictures import heat_picture
from ..evaluation.panels import Rgb, fit, stack_panels
from ..evaluation.pisr_pictures import debug_maps
from .figure import Choice, Floats, NotDrawnError, View
from .plots import MIN_POINTS, Rows, project, scatter_panel

TSNE_WIDTH, PANEL_WIDTH, NARROW_WIDTH = 720, 480, 360

SHOWN_INSTANCES = 2
"""Number of instance heatmaps of figure E.1."""

MIN_HEAT = 0.5
"""Least maximum of a heatmap that shows an instance; other centres have no pixels of their own."""

CENTER_COLOR = (150, 0, 0)
"""Dark, since centres lie on the yellow of their class."""

INITIAL, FINAL = 'without the block', 'with the block'


class Encodings(NamedTuple):
    """Encodings of the C classes and K instances of an image."""

    before: Rows
    """Before they are weighted, (C + K, D)."""

    after: Rows
    """After that, (C + K, D)."""

    class_id: np.ndarray
    """Class of each encoding, (C + K,)."""

    classes: int
    """C."""

    heatmaps: Floats
    """Of the instances, (K, h, w)."""


def draw_encodings(model: Any, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure C.2: t-SNE of the encodings of classes and instances in one plane."""
    require_block(model)
    (view,) = views
    found = encodings_of(model, view)
    if len(found.class_id) < MIN_POINTS:
        raise NotDrawnError('the image has too few classes and instances')
    rows: list[dict[str, Rgb]] = [
        {
            'prediction': view.prediction(TSNE_WIDTH),
            'heatmaps of the instances': numbered_heat(view, found.heatmaps),
        }
    ]
    names = [class_name(view.labels, int(i)) for i in found.class_id[: found.classes]]
    names += [str(number) for number in range(1, len(found.heatmaps) + 1)]
    size, is_class = view.panel_size(TSNE_WIDTH), np.arange(len(names)) < found.classes
    for when, encodings in (('before', found.before), ('after', found.after)):
        points = project(encodings)
        rows.append(
            {
                f'encodings of {kind}, {when} weighting': scatter_panel(
                    size,
                    points[shown],
                    view.labels.colors[found.class_id[shown]],
                    view.labels.is_thing[found.class_id[shown]],
                    [name for name, one in zip(names, shown, strict=True) if one],
                    points[~shown],
                    area=50,
                )
                for kind, shown in (('classes', is_class), ('instances', ~is_class))
            }
        )
    title = f"{view.name}: t-SNE of the block's encodings; circles are stuff, triangles things"
    return stack_panels(rows, title, view.labels, view.class_ids())


def draw_centers(model: PISR, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure E.1: segments, centres and heatmaps of two instances without and with block."""
    require_block(model)
    (view,) = views
    picture = view.picture(NARROW_WIDTH)
    rows = []
    for when, (segments, centers, instances) in zip(
        (INITIAL, FINAL), heads_of(model, view), strict=True
    ):
        panels = {
            f'prediction {when}': view.prediction(NARROW_WIDTH, view.frame_of(segments)),
            f'centre heatmap {when}': heat_picture(picture, centers, 0.7),
        }
        for number, heat in enumerate(instances, 1):
            panels[f'instance {number} {when}'] = heat_picture(picture, heat, 0.7)
        rows.append(panels)
    title = f'{view.name}: heatmaps from dark blue, 0, to yellow, 1'
    return stack_panels(rows, title, view.labels, view.class_ids())


def draw_classes(model: PISR, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 5: the map of a class with the centres on it, without and with the block."""
    require_block(model)
    (view,) = views
    class_id = largest_thing_class(view) if choice.class_id is None else choice.class_id
    name = class_name(view.labels, class_id)
    maps = debug_maps(model, view.pixels, class_id)
    picture, size = view.picture(PANEL_WIDTH), view.panel_size(PANEL_WIDTH)
    panels = {'prediction': view.prediction(PANEL_WIDTH)}
    for when, class_map, centers in (
        (INITIAL, maps.class_before, maps.centers_before),
        (FINAL, maps.class_after, maps.centers_after),
    ):
        heat, peaks = (view.cells(torch.from_numpy(x), MAP_STRIDE) for x in (class_map, centers))
        panels[f'{name} {when}'] = put_centers(heat_picture(picture, heat, 0.7), peaks, size)
    title = f'{view.name}: {name} from dark blue, lowest, to yellow, highest; its centres in red'
    return stack_panels([panels], title, view.labels, view.class_ids())


def require_block(model: Any) -> None:
    """Refuse a model without a block.

    Raises:
        NotDrawnError: for `enabled: false`.
    """
    if not model.config.enabled:
        raise NotDrawnError('the model has no block (enabled: false)')


@torch.no_grad()
def encodings_of(model: Any, view: View) -> Encodings:
    """Record the block's encodings of an image's classes and instances.

    Only classes are kept that are the best one of a cell before the block, and only instances
    with a cell whose heat is at least MIN_HEAT and, on Panoptic-DeepLab, with a centre that
    decoding would keep. The class of an instance is the most probable thing under its heatmap.

    Args:
        model: with a block on class maps and heatmaps.
        view: the image.
    """
    maps, inputs, weighted = recorded(model, view)
    _, class_maps, heatmaps, alive = inputs
    heat, sure = heatmaps[0], alive[0]
    if isinstance(model, PISR):
        window = window_of(model.config.nms_kernel)
        height, _ = find_peaks(maps.initial.center_heatmap[0], window, len(heat))
        sure = sure & (height >= model.config.center_threshold)
    (semantic, instance), after = weighted
    classes = semantic.shape[1]
    prob = class_maps[0].flatten(1).softmax(dim=0)  # (C, N)
    share = heat.flatten(1).to(prob.dtype) @ prob.T  # (K, C)
    of_instance = torch.where(model.is_thing, share, -1).argmax(dim=1)
    present = torch.zeros(classes, dtype=torch.bool, device=prob.device)
    present[prob.argmax(dim=0)] = True
    sure = sure & (heat.flatten(1).amax(dim=1) >= MIN_HEAT)
    keep = torch.cat([present, sure])
    class_id = torch.cat([torch.arange(classes, device=prob.device), of_instance])
    before = torch.cat([semantic[0], instance[0]])
    rows, weighted_rows, ids = (x[keep].cpu().numpy() for x in (before, after[0], class_id))
    shown = view.cells(heat[sure], MAP_STRIDE)
    return Encodings(rows, weighted_rows, ids, int(present.sum()), shown)


def recorded(
    model: Any, view: View
) -> tuple[Any, tuple[Any, ...], tuple[tuple[Any, ...], Tensor]]:
    """Return a model's maps, the inputs of its block, and inputs and output of the weighting."""
    calls: list[Any] = []
    hooks = [
        model.block.register_forward_pre_hook(lambda _, given: calls.append(given)),
        model.block.reweight.register_forward_hook(
            lambda _, given, result: calls.append((given, result))
        ),
    ]
    try:
        maps = model.maps(view.batch(model))
    finally:
        for hook in hooks:
            hook.remove()
    inputs, weighted = calls
    return maps, inputs, weighted


@torch.no_grad()
def heads_of(model: PISR, view: View) -> list[tuple[Any, Floats, list[Floats]]]:
    """Compute segments, centre heatmap and instance heatmaps of the initial and the final heads.

    Instance heatmaps of both belong to the most confident centres of the final heads, so that
    they differ by the offsets only.
    """
    maps = model.maps(view.batch(model), MAP_STRIDE)
    assert maps.initial is not None
    height, width = view.cells_size(MAP_STRIDE)
    heatmap = maps.final.center_heatmap[:, :, :height, :width]
    center, alive = confident_centers(heatmap, SHOWN_INSTANCES, window_of(model.config.nms_kernel))
    thresholds = model.default_thresholds()
    return [
        (
            PanopticDeepLab.decode(model, one, **thresholds),
            view.cells(one.center_heatmap[0].amax(dim=0).clamp(0, 1), MAP_STRIDE),
            list(view.cells(model.heatmaps(one, center)[0][alive[0]], MAP_STRIDE)),
        )
        for one in (maps.initial, maps.final)
    ]


def largest_thing_class(view: View) -> int:
    """Return the class of the largest predicted thing.

    Raises:
        NotDrawnError: without a thing.
    """
    things = view.frame.segments[view.frame.segments['is_thing'] == 1]
    if not len(things):
        raise NotDrawnError('no thing is found; choose a class with --class')
    return int(things['class_id'][things['area'].argmax()])


def numbered_heat(view: View, heatmaps: Floats) -> Rgb:
    """Draw the highest of heatmaps (K, h, w) over the image, a number at the peak of each."""
    size = view.panel_size(TSNE_WIDTH)
    heat = heatmaps.max(axis=0, initial=0)
    picture, style = heat_picture(view.picture(TSNE_WIDTH), heat, 0.7), style_for(*size)
    for number, one in enumerate(heatmaps, 1):
        y, x = np.unravel_index(one.argmax(), one.shape)
        corner = int((x + 0.5) * size[1] / one.shape[1]), int((y + 0.5) * size[0] / one.shape[0])
        draw_text(picture, str(number), corner, style)
    return picture


def put_centers(picture: Rgb, centers: Floats, size: tuple[int, int]) -> Rgb:
    """Mix a picture with CENTER_COLOR as the centres (h, w) in 0 to 1 say."""
    weight = fit(np.rint(255 * centers).astype(np.uint8), size)[:, :, None] / 255
    return np.rint(picture * (1 - weight) + np.array(CENTER_COLOR) * weight).astype(np.uint8)
