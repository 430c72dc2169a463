# SPDX-License-Identifier: Apache-2.0
"""Embeddings as colours: three of their dimensions, or their principal components."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation.map_pictures import stretch
from .figure import Floats

Rgb = npt.NDArray[np.uint8]


def dimension_colors(embedding: Floats, limit: float) -> Rgb:
    """Show up to three dimensions as red, green and blue, from -limit to limit.

    Args:
        embedding: (d, h, w) with d of 1 to 3; missing colours are those of the value 0.
        limit: value of the brightest colour; -limit is black.

    Returns:
        (h, w, 3)
    """
    padded = np.zeros((3, *embedding.shape[1:]), np.float32)
    padded[: len(embedding)] = embedding
    return _bytes((padded + limit) / (2 * limit))


def color_limit(embeddings: list[Floats]) -> float:
    """Return the largest absolute value of embeddings (D, h, w), for `dimension_colors`."""
    return max(float(np.abs(embedding).max()) for embedding in embeddings)


def pca_colors(embedding: Floats) -> Rgb:
    """Show the first three principal components as red, green and blue.

    Each component is scaled from its minimum and maximum to 0 and 255.

    Args:
        embedding: (D, h, w); with D below 3 the missing colours are 0.

    Returns:
        (h, w, 3)
    """
    from sklearn.decomposition import PCA

    rows = embedding.reshape(len(embedding), -1).T  # (h * w, D)
    parts = PCA(min(3, *rows.shape), svd_solver='full').fit_transform(rows)
    colors = np.zeros((len(rows), 3), np.float32)
    for i in range(parts.shape[1]):
        colors[:, i] = stretch(parts[:, i])
    return _bytes(colors.T.reshape(3, *embedding.shape[1:]))


def _bytes(channels: npt.NDArray[Any]) -> Rgb:
    """Return channels (3, h, w) in 0 to 1 as (h, w, 3) uint8."""
    return np.rint(255 * np.clip(channels, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
