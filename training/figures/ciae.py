# SPDX-License-Identifier: Apache-2.0
"""Figures 4 and 5 of CIAE: proposals, principal components of the embedding, and segments."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from panoptic_ros.core.captions import draw_text, style_for
from panoptic_ros.core.legend import class_color, class_name
from panoptic_ros.models.ciae.decode import Proposals, propose
from panoptic_ros.models.ciae.network import CIAE

from ..evaluation.map_pictures import heat_picture
from ..evaluation.panels import Rgb, fit, stack_panels
from .embedding_colors import pca_colors
from .figure import Choice, Floats, View

PANEL_WIDTH = 480

SHOWN_QUERIES = 3
"""Number of queries of figure 4 whose similarity is drawn."""


class Parts(NamedTuple):
    """What a prediction of CIAE is made of."""

    embedding: Floats
    """Unit length over D, (D, h, w)."""

    proposals: Proposals

    memory: Floats
    """Queries of the stuff classes, unit rows, (C_st, D)."""


def draw_queries(model: CIAE, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 4: proposals, embedding and segments, below them similarities to queries."""
    (view,) = views
    parts = parts_of(model, view)
    above = {
        'proposals': proposals_picture(view, parts.proposals),
        'embedding, three principal components': embedding_picture(view, parts.embedding),
        'panoptic segmentation': view.prediction(PANEL_WIDTH),
    }
    picture = view.picture(PANEL_WIDTH)
    below = {
        f'similarity to {name}': heat_picture(picture, similarity(parts.embedding, query), 0.85)
        for name, query in chosen_queries(model, view, parts)
    }
    rows = [above, below] if below else [above]
    title = f'{view.name}: similarity is the cosine, dark blue 0 or below, yellow 1'
    return stack_panels(rows, title, view.labels, view.class_ids())


def draw_steps(model: CIAE, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 5: proposals and embedding, below them segments and ground truth."""
    (view,) = views
    parts = parts_of(model, view)
    rows = [
        {
            'proposals': proposals_picture(view, parts.proposals),
            'embedding, three principal components': embedding_picture(view, parts.embedding),
        },
        {
            'panoptic segmentation': view.prediction(PANEL_WIDTH),
            'ground truth': view.truth(PANEL_WIDTH),
        },
    ]
    return stack_panels(rows, view.name, view.labels, view.class_ids())


@torch.no_grad()
def parts_of(model: CIAE, view: View) -> Parts:
    """Compute embedding, proposals after suppression, and queries of the stuff classes."""
    maps = model.maps_to_decode(view.batch(model))
    embedding = F.normalize(maps.embedding[0], dim=0)
    thresholds = model.default_thresholds()
    proposals = propose(maps.detections, embedding, model.thing_ids, model.config, thresholds)
    memory = F.normalize(model.memory, dim=1)[: model.num_stuff]
    return Parts(
        view.cells(embedding, model.config.stride),
        Proposals(*(value.cpu() for value in proposals)),
        np.asarray(memory.cpu().numpy()),
    )


def similarity(embedding: Floats, query: Floats) -> Floats:
    """Return the cosine of each cell's embedding (D, h, w) and a query (D,), (h, w)."""
    return np.asarray(np.tensordot(query, embedding, axes=1), np.float32)


def chosen_queries(model: CIAE, view: View, parts: Parts) -> list[tuple[str, Floats]]:
    """Return names and queries: those of the best proposals, and of the largest stuff class."""
    labels, proposals = model.labels, parts.proposals
    queries = [
        (f'proposal {row + 1}, {class_name(labels, int(proposals.class_id[row]))}', row)
        for row in torch.nonzero(proposals.keep)[: SHOWN_QUERIES - 1, 0].tolist()
    ]
    chosen = [(name, np.asarray(proposals.query[row].numpy())) for name, row in queries]
    stuff = view.frame.segments[view.frame.segments['is_thing'] == 0]
    if len(stuff):
        class_id = int(stuff['class_id'][stuff['area'].argmax()])
        memory = parts.memory[int(model.memory_of_class[class_id])]
        chosen.append((f'the memory of {class_name(labels, class_id)}', memory))
    return chosen


def embedding_picture(view: View, embedding: Floats) -> Rgb:
    """Draw the principal components of an embedding at the size of the panels."""
    return fit(pca_colors(embedding), view.panel_size(PANEL_WIDTH))


def proposals_picture(view: View, proposals: Proposals) -> Rgb:
    """Draw the boxes of proposals with number and class; the best lie on top."""
    picture = view.picture(PANEL_WIDTH)
    scale = PANEL_WIDTH / view.frame.geometry.content_size[1]
    style = style_for(*picture.shape[:2])
    for row in reversed(torch.nonzero(proposals.keep)[:, 0].tolist()):
        class_id = int(proposals.class_id[row])
        x1, y1, x2, y2 = (round(scale * value) for value in proposals.box[row].tolist())
        color = class_color(view.labels, class_id)
        cv2.rectangle(picture, (x1, y1), (x2, y2), (255, 255, 255), 3)
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, 1)
        draw_text(picture, str(row + 1), (x1, max(0, y1 - style.line_px)), style, color)
    return picture
