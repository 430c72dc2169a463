# SPDX-License-Identifier: Apache-2.0
"""Evidence that a model is unsure of a frame: each signal is 0 for none to 1."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry, PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.metrics.changed_share import changed_share
from panoptic_ros.runtime.predictor import Predictor

Floats = npt.NDArray[np.floating]

SIGNALS = {
    'flip': 'result of the mirrored image differs',
    'stride': 'result at stride 2 differs',
    'score': 'low scores',
    'bimodal': 'scores in two groups',
    'flicker': 'tracks flicker',
    'novelty': 'things unlike those of the training set',
}
"""Title of each signal."""

LAYOUT_CELLS = 4
"""Rows and columns of the grid in which a layout counts classes."""


def flipped_difference(predictor: Predictor, image: CameraImage, frame: PanopticFrame) -> float:
    """Return the share of the pixels on which the result of the mirrored image differs.

    Args:
        predictor: of the frame.
        image: the camera's image.
        frame: its result.
    """
    mirrored = CameraImage(np.ascontiguousarray(image.pixels[:, ::-1]), image.order)
    other = at_image(predictor.predict(mirrored))
    back = np.ascontiguousarray(other.segment_map[:, ::-1])
    return changed_share(at_image(frame), replace(other, segment_map=back))


def at_image(frame: PanopticFrame) -> PanopticFrame:
    """Return a frame whose map has the camera's resolution; its confidences are left out."""
    size = frame.geometry.image_size
    segment_map = frame.geometry.to_camera(frame.segment_map)
    geometry = Geometry(size, size, 1)
    return replace(frame, segment_map=segment_map, geometry=geometry, confidence_map=None)


def low_score(frame: PanopticFrame) -> float:
    """Return one minus the mean score of the segments; 1 without a segment."""
    scores = frame.segments['score']
    return 1 - float(scores.mean()) if len(scores) else 1.0


def bimodality(scores: Floats) -> float:
    """Return how far scores, (N,) in [0, 1], fall into two groups.

    It is twice the standard deviation between two groups, divided where it is largest (Otsu
    1979): 0 if all scores are equal, 1 if half of them are 0 and half are 1.
    """
    if len(scores) < 2:
        return 0.0
    values = np.sort(np.asarray(scores, np.float64))
    n = np.arange(1, len(values))
    below = np.cumsum(values)[:-1]
    share = n / len(values)
    mean_difference = (values.sum() - below) / (len(values) - n) - below / n
    return max(0.0, float(2 * (np.sqrt(share * (1 - share)) * mean_difference).max()))


def layout(frame: PanopticFrame, classes: int) -> npt.NDArray[np.float32]:
    """Return which classes are where, as a unit vector; see `layout_distance`.

    Args:
        frame: result of an image.
        classes: number of classes C.

    Returns:
        (16 * (C + 1),) root of the share of the cells of each class, and of void, in each field of
        a grid of 4 x 4.
    """
    semantic = np.minimum(frame.semantic_map, classes).astype(np.int64)
    rows, cols = (np.arange(n) * LAYOUT_CELLS // n for n in semantic.shape)
    field = rows[:, None] * LAYOUT_CELLS + cols
    counts = np.bincount(
        (field * (classes + 1) + semantic).ravel(), minlength=LAYOUT_CELLS**2 * (classes + 1)
    )
    return np.sqrt(counts / semantic.size).astype(np.float32)


def layout_distance(one: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """Return the Hellinger distances, (N,) in [0, 1], of layouts (D,) and (N, D)."""
    return np.sqrt(np.maximum(1 - others.astype(np.float64) @ one, 0))


def thing_embeddings(frame: PanopticFrame) -> npt.NDArray[np.float32]:
    """Return the embeddings of the things as unit vectors, (N, D); N is 0 if there are none."""
    rows = frame.segments[frame.segments['is_thing'] == 1]
    norm = np.linalg.norm(rows['embedding'], axis=1, keepdims=True)
    known = norm[:, 0] > 0
    return rows['embedding'][known] / norm[known]


def novelty(embeddings: Floats, known: Floats) -> float:
    """Return the mean cosine distance of embeddings to the nearest known one, halved to [0, 1].

    Args:
        embeddings: (N, D) unit vectors; 0 is returned without any.
        known: (K, D) unit vectors of the training set, at least one.
    """
    if not len(embeddings):
        return 0.0
    nearest = (embeddings @ known.T).max(axis=1)
    return float(np.clip((1 - nearest) / 2, 0, 1).mean())
