# SPDX-License-Identifier: Apache-2.0
"""Reliability diagram: how often predictions are right, by their probability."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_bytes

from .calibration import Bins, Fit

INK, ORANGE, BLUE = '#20303c', '#e69f00', '#2f6f9f'
"""Colours of different brightness, so that colour-blind people can tell them apart."""

LARGEST = 12.0
"""Size of the marker of the fullest bin, points."""


def write_plot(fits: Mapping[str, Fit], path: Path) -> None:
    """Write a PNG with a diagram per fit; a larger marker stands for more predictions.

    Args:
        fits: by title.
        path: of the new file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(fits), 4.6), layout='constrained', dpi=120)
    for i, (title, fit) in enumerate(fits.items()):
        axes = figure.add_subplot(1, len(fits), i + 1, aspect='equal', xlim=(0, 1), ylim=(0, 1))
        axes.grid(visible=True, color='#e6e6e6', linewidth=0.6)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, label='ideal')
        for name, bins, color, marker in (
            ('before', fit.before, ORANGE, 'o'),
            ('after', fit.after, BLUE, 's'),
        ):
            _plot_bins(axes, bins, color, marker, f'{name}: error {100 * bins.error:.2f} %')
        axes.set_title(f'{title} of the held-out half', fontsize=11)
        axes.set_xlabel('probability')
        axes.set_ylabel('share that is right')
        axes.legend(loc='best', fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format='png')
    write_bytes(stream.getvalue(), path)


def _plot_bins(axes: Any, bins: Bins, color: str, marker: str, label: str) -> None:
    some = bins.number > 0
    x, y = bins.prob[some], bins.accuracy[some]
    axes.plot(x, y, color=color, linewidth=1, label=label, marker=marker, markersize=3)
    size = LARGEST**2 * bins.number[some] / bins.number.max()
    axes.scatter(x, y, s=size, color=color, marker=marker, alpha=0.7, zorder=3)
