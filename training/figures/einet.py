# SPDX-License-Identifier: Apache-2.0
"""Figures 2 and 3 of EINet's supplement: embeddings by t-SNE, and heatmaps of centres."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.einet.network import EINet

from ..evaluation.map_pictures import heat_picture
from ..evaluation.panels import Rgb, stack_panels
from .figure import Choice, Floats, NotDrawnError, View
from .frames import things_only
from .plots import MIN_POINTS, project, scatter_panel

PANEL_WIDTH = 480

PIXELS_PER_SEGMENT = 40
"""Most pixels of a stuff class or an instance that become points."""

MAX_PIXELS = 800
"""Most points in a plot."""


class Embeddings(NamedTuple):
    """Both embeddings at stride 4, (D, h, w), without and with the interaction."""

    semantic: tuple[Floats, Floats]

    instance: tuple[Floats, Floats]


def draw_embeddings(model: EINet, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 2: t-SNE of the pixels' embeddings without and with the interaction."""
    (view,) = views
    if model.config.interaction == 'none':
        raise NotDrawnError('the model has interaction: none')
    class_map, instance_map = view.true_cells(MAP_STRIDE)
    found = embeddings_of(model, view)
    rows: list[dict[str, Rgb]] = [
        {'ground truth': view.truth(PANEL_WIDTH), 'prediction': view.prediction(PANEL_WIDTH)}
    ]
    for kind, (without, enhanced), map_of_places in (
        ('semantic', found.semantic, class_map),
        ('instance', found.instance, np.where(instance_map > 0, class_map, VOID_ID)),
    ):
        places = sample_places(map_of_places, instance_map)
        if len(places) < MIN_POINTS:
            continue
        classes = map_of_places.ravel()[places]
        rows.append(
            {
                f'{kind} embedding {when} interaction': scatter_panel(
                    view.panel_size(PANEL_WIDTH),
                    project(embedding.reshape(len(embedding), -1).T[places]),
                    view.labels.colors[classes],
                    view.labels.is_thing[classes],
                )
                for when, embedding in (('without', without), ('with', enhanced))
            }
        )
    if len(rows) == 1:
        raise NotDrawnError('the image has too few labelled pixels')
    title = f'{view.name}: t-SNE of pixels, by true class; circles are stuff, triangles things'
    return stack_panels(rows, title, view.labels, view.class_ids())


def draw_heatmaps(model: EINet, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 3: the highest of the centres' heatmaps, instances, and segments."""
    (view,) = views
    panels = {
        'centre heatmap, highest class': heat_picture(
            view.picture(PANEL_WIDTH), center_heatmap(model, view), opacity=0.7
        ),
        'instances': view.prediction(PANEL_WIDTH, things_only(view.frame)),
        'panoptic segmentation': view.prediction(PANEL_WIDTH),
    }
    title = f'{view.name}: heatmap from dark blue, 0, to yellow, 1'
    return stack_panels([panels], title, view.labels, view.class_ids())


@torch.no_grad()
def embeddings_of(model: EINet, view: View) -> Embeddings:
    """Compute E_s and E_i of an image, and both enhanced by the other's original."""
    semantic, instance = model.embeddings(view.batch(model))
    pairs = (
        (semantic, model.enhanced_semantic(semantic, instance)),
        (instance, model.enhanced_instance(instance)),
    )
    return Embeddings(
        *((view.cells(a[0], MAP_STRIDE), view.cells(b[0], MAP_STRIDE)) for a, b in pairs)
    )


@torch.no_grad()
def center_heatmap(model: EINet, view: View) -> Floats:
    """Return the highest heatmap of all thing classes at each cell, in 0 to 1, (h, w)."""
    heights = model.center_heights(model.maps(view.batch(model)))
    return view.cells(heights[0].amax(dim=0).clamp(0, 1), MAP_STRIDE)


def sample_places(
    class_map: npt.NDArray[Any], instance_map: npt.NDArray[Any]
) -> npt.NDArray[np.intp]:
    """Choose pixels of each stuff class and instance, the same in each run.

    Args:
        class_map: (h, w), VOID_ID where no pixel is chosen.
        instance_map: 0 on stuff, (h, w).

    Returns:
        At most MAX_PIXELS indices of the flattened maps, sorted.
    """
    rng = np.random.default_rng(0)
    keys = instance_map.astype(np.int64).ravel() << 8 | class_map.ravel()
    chosen = [
        rng.permutation(np.flatnonzero(keys == key))[:PIXELS_PER_SEGMENT]
        for key in np.unique(keys)
        if key & 255 != VOID_ID
    ]
    places = np.concatenate([np.zeros(0, np.intp), *chosen])
    return np.sort(rng.permutation(places)[:MAX_PIXELS])
