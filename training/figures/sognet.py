# SPDX-License-Identifier: Apache-2.0
"""Figure 3 of SOGNet: predicted and true relations of the instances of an image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from panoptic_ros.core.captions import draw_text, style_for
from panoptic_ros.core.legend import class_color, class_name
from panoptic_ros.models.sognet.network import SOGNet

from ..evaluation.panels import Rgb, nearest, stack_panels
from ..evaluation.relations import gt_relations, true_objects
from .figure import Choice, NotDrawnError, View
from .frames import deepest
from .plots import Rows, matrix_panel

PANEL_WIDTH = 720

MAX_INSTANCES = 10
"""Most instances in the matrices."""


class Relations(NamedTuple):
    """Relations of the N shown instances: [i, j] says that i is covered by j."""

    predicted: Rows
    """O in 0 to 1, (N, N)."""

    truth: Rows
    """R*, 0 or 1, (N, N)."""

    ids: np.ndarray
    """Ids in the sample's instance map, (N,)."""

    class_id: np.ndarray
    """(N,)"""


def draw_relations(model: SOGNet, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 3: numbers of instances in the image, below it O and R*."""
    if model.relation is None:
        raise NotDrawnError('the model has no relations')
    (view,) = views
    found = relations_of(model, view)
    names = [
        f'{number} {class_name(view.labels, int(class_id))}'
        for number, class_id in enumerate(found.class_id, 1)
    ]
    height, width = view.panel_size(PANEL_WIDTH)
    rows = [
        {
            'true instances that overlap another one': numbered(view, found),
            'prediction': view.prediction(PANEL_WIDTH),
        },
        {
            'O, predicted: the row is covered by the column': matrix_panel(
                (height, width), found.predicted, names
            ),
            'R*, ground truth': matrix_panel((height, width), found.truth, names),
        },
    ]
    return stack_panels(rows, view.name, view.labels, view.class_ids())


def relations_of(model: SOGNet, view: View) -> Relations:
    """Return predicted and true relations between the instances that overlap another one.

    Both belong to the true instances, whose boxes, classes and masks the relations are predicted
    from. The largest MAX_INSTANCES of them are kept, in the order of the ground truth.

    Raises:
        NotDrawnError: if no two instances overlap.
    """
    predicted, truth = gt_relations(model, view.sample)
    objects = true_objects(model, view.sample)
    ids = objects.id.cpu().numpy()
    related = (truth | truth.T | (predicted > 0) | (predicted.T > 0)).any(axis=1)
    if not related.any():
        raise NotDrawnError('no two instances overlap')
    area = (view.sample.instance_map.ravel() == ids[:, None]).sum(axis=1)
    shown = np.sort(np.argsort(-np.where(related, area, -1), kind='stable')[:MAX_INSTANCES])
    shown = shown[related[shown]]
    return Relations(
        predicted[shown][:, shown],
        truth[shown][:, shown].astype(np.float32),
        ids[shown],
        model.thing_class[objects.thing].cpu().numpy()[shown],
    )


def numbered(view: View, found: Relations) -> Rgb:
    """Draw the shown instances in the colours of their classes, each with its number."""
    picture, size = view.picture(PANEL_WIDTH), view.panel_size(PANEL_WIDTH)
    instance_map, style = nearest(view.sample.instance_map, size), style_for(*size)
    for i, class_id in zip(found.ids, found.class_id, strict=True):
        inside = instance_map == i
        picture[inside] = picture[inside] // 2 + view.labels.colors[class_id] // 2
    for number, (i, class_id) in enumerate(zip(found.ids, found.class_id, strict=True), 1):
        y, x = deepest(instance_map == i)
        corner = (max(0, x - style.height_px), max(0, y - style.line_px // 2))
        fill = class_color(view.labels, int(class_id))
        draw_text(picture, str(number), corner, style, fill, (255, 255, 255))
    return picture
