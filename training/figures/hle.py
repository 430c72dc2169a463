# SPDX-License-Identifier: Apache-2.0
"""Figures 1, 3 and 8 of HLE: distances from a pixel, and dimensions of the embedding."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from panoptic_ros.models.hle.network import HLE

from ..evaluation.map_pictures import heat_picture
from ..evaluation.panels import Rgb, fit, frame_at, stack_panels
from .embedding_colors import color_limit, dimension_colors
from .figure import Choice, Floats, View
from .frames import largest_thing_pixel, things_only

PANEL_WIDTH, NARROW_WIDTH = 480, 320
"""Width of a picture in figure 1, and in the figures 3 and 8 of more pictures, px."""

SHOWN_DIMENSIONS = 12
"""Most dimensions in figure 3, three to a picture."""


def draw_distance(model: HLE, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 1: prediction, and the distance of all embeddings from that of one pixel."""
    (view,) = views
    x, y = pixel = choice.pixel or largest_thing_pixel(view.frame)
    height, width = view.frame.geometry.image_size
    if not (x < width and y < height):
        raise ValueError(f'the image {view.name} has {width}x{height} pixels, got pixel {x},{y}')
    px_y, px_x = view.frame.geometry.px_per_cell
    distance = distance_map(embedding_of(model, view), (int(y / px_y), int(x / px_x)))
    near = heat_picture(view.picture(PANEL_WIDTH), 1 - distance / distance.max(), opacity=0.85)
    panels = {
        'image': view.picture(PANEL_WIDTH),
        'prediction': view.prediction(PANEL_WIDTH),
        f'distance: yellow 0, dark blue {distance.max():.2f}': near,
    }
    for name, panel in panels.items():
        panels[name] = mark(panel, x * PANEL_WIDTH / width, y * PANEL_WIDTH / width)
    title = (
        f'{view.name}: cosine distance of all embeddings from that of pixel {pixel[0]},{pixel[1]}'
    )
    return stack_panels([panels], title, view.labels, view.class_ids())


def draw_dimensions(model: HLE, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 3: image, classes, segments and instances, below them the embedding."""
    (view,) = views
    embedding = embedding_of(model, view)
    limit = color_limit([embedding[:SHOWN_DIMENSIONS]])
    above = {
        'image': view.picture(NARROW_WIDTH),
        'classes': class_picture(view, NARROW_WIDTH),
        'panoptic segmentation': view.prediction(NARROW_WIDTH),
        'instances': view.prediction(NARROW_WIDTH, things_only(view.frame)),
    }
    below = {
        f'dimensions {first + 1} to {first + len(part)}': scaled(
            dimension_colors(part, limit), view, NARROW_WIDTH
        )
        for first in range(0, min(len(embedding), SHOWN_DIMENSIONS), 3)
        if len(part := embedding[first : first + 3])
    }
    title = f'{view.name}: embedding as red, green, blue from {-limit:.2f} to {limit:.2f}'
    return stack_panels([above, below], title, view.labels, view.class_ids())


def draw_video(model: HLE, views: Sequence[View], choice: Choice) -> Rgb:
    """Draw figure 8: for each frame of a video image, segments and three dimensions."""
    embeddings = [embedding_of(model, view)[:3] for view in views]
    limit = color_limit(embeddings)
    rows = [
        {
            f'image {view.name}': view.picture(NARROW_WIDTH),
            'panoptic segmentation': view.prediction(NARROW_WIDTH),
            'dimensions 1 to 3': scaled(dimension_colors(embedding, limit), view, NARROW_WIDTH),
        }
        for view, embedding in zip(views, embeddings, strict=True)
    ]
    classes = sorted({i for view in views for i in view.class_ids()})
    title = f'embedding as red, green, blue from {-limit:.2f} to {limit:.2f}'
    return stack_panels(rows, title, views[0].labels, classes)


@torch.no_grad()
def embedding_of(model: HLE, view: View) -> Floats:
    """Return the embedding that decoding uses, (D, h, w), at the frame's cells."""
    maps = model.maps_to_decode(view.batch(model))
    _, instance = model.split(maps.embedding)
    return view.cells(instance[0], model.config.stride)


def distance_map(embedding: Floats, cell: tuple[int, int]) -> Floats:
    """Return the cosine distance of each cell from one cell, 1 - e_i . e (section 3.3).

    Args:
        embedding: unit length over D, (D, h, w).
        cell: (y, x).

    Returns:
        (h, w), at least 0.
    """
    cosine = np.tensordot(embedding[:, cell[0], cell[1]], embedding, axes=1)
    return np.maximum(1 - cosine, 0).astype(np.float32)


def class_picture(view: View, width: int) -> Rgb:
    """Draw the predicted classes in their colours, void in black."""
    frame = frame_at(view.frame, view.labels, view.panel_size(width))
    colors = view.labels.colors[frame.segments['class_id']]
    return np.asarray(frame.paint(colors, 0), np.uint8)


def scaled(cells: Rgb, view: View, width: int) -> Rgb:
    """Scale a picture of cells (h, w, 3) to the image's picture of a width."""
    return fit(cells, view.panel_size(width))


def mark(picture: Rgb, x: float, y: float) -> Rgb:
    """Return a picture with a ring around a place, px, in red between white and black."""
    marked = picture.copy()
    at = (round(x), round(y))
    for radius, color in ((9, (0, 0, 0)), (7, (255, 255, 255)), (5, (213, 0, 0))):
        cv2.circle(marked, at, radius, color, 2, cv2.LINE_AA)
    return marked
