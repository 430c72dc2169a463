# SPDX-License-Identifier: Apache-2.0
"""Plots as pictures: points in the plane, and matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation.panels import Rgb

Rows = npt.NDArray[np.floating[Any]]

MIN_POINTS = 4
"""Fewest points that t-SNE arranges here."""

MARKERS = {False: 'o', True: '^'}
"""Marker of stuff and of things."""

INK, GREY = '#20303c', '#9aa5b1'

DPI = 100


def project(rows: Rows) -> Rows:
    """Arrange rows (N, D) in the plane by t-SNE, (N, 2), the same in each run.

    Raises:
        ValueError: for fewer than MIN_POINTS rows.
    """
    from sklearn.manifold import TSNE

    if len(rows) < MIN_POINTS:
        raise ValueError(f't-SNE needs at least {MIN_POINTS} points, got {len(rows)}')
    tsne = TSNE(2, init='pca', random_state=0, perplexity=min(30.0, (len(rows) - 1) / 3))
    return np.asarray(tsne.fit_transform(rows.astype(np.float32)))


def scatter_panel(
    size: tuple[int, int],
    points: Rows,
    colors: npt.NDArray[np.uint8],
    is_thing: npt.NDArray[np.bool_],
    names: Sequence[str] = (),
    behind: Rows | None = None,
    area: float = 12.0,
) -> Rgb:
    """Draw points: circles for stuff, triangles for things.

    Args:
        size: (height, width) of the picture, px.
        points: (N, 2).
        colors: RGB of each point, (N, 3).
        is_thing: (N,)
        names: text beside each point; empty for none.
        behind: further points, drawn in grey, (M, 2); they also count for the range.
        area: area of a marker, square points.

    Returns:
        (height, width, 3)
    """
    figure, axes = _figure(size)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.14)
    if behind is not None and len(behind):
        axes.scatter(*behind.T, s=area, c=GREY, alpha=0.6, marker='.', linewidths=0)
    for thing, marker in MARKERS.items():
        chosen = is_thing == thing
        axes.scatter(
            *points[chosen].T,
            s=area,
            c=colors[chosen] / 255,
            marker=marker,
            edgecolors=INK,
            linewidths=0.4,
        )
    for name, place in zip(names, points, strict=False):
        axes.annotate(name, place, xytext=(5, 3), textcoords='offset points', fontsize=8)
    return _rgb(figure)


def matrix_panel(size: tuple[int, int], matrix: Rows, names: Sequence[str]) -> Rgb:
    """Draw a matrix of values from 0 to 1, dark blue to yellow, with the values.

    Args:
        size: (height, width) of the picture, px.
        matrix: (N, N); rows are the lower instances, columns the upper ones.
        names: of the N instances.
    """
    figure, axes = _figure(size)
    picture = axes.imshow(matrix, cmap='cividis', vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes)
    places = range(len(names))
    small = 8 if len(names) <= 10 else 6
    axes.set_xticks(places, [name.split()[0] for name in names], fontsize=small)
    axes.set_yticks(places, names, fontsize=small)
    axes.set_xlabel('is covered by', fontsize=8)
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column] >= 0.005:
            color = 'black' if matrix[row, column] > 0.5 else 'white'
            text = f'{matrix[row, column]:.2f}'.removesuffix('.00').removeprefix('0')
            axes.text(column, row, text, ha='center', va='center', color=color, fontsize=small)
    return _rgb(figure)


def _figure(size: tuple[int, int]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[1] / DPI, size[0] / DPI), layout='constrained', dpi=DPI)
    return figure, figure.add_subplot()


def _rgb(figure: Any) -> Rgb:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
