# SPDX-License-Identifier: Apache-2.0
"""Ranking of frames by their signals, and a diverse choice among them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from panoptic_ros.mining.signals import layout_distance

Floats = npt.NDArray[np.floating]


def ranks(values: Floats) -> npt.NDArray[np.float64]:
    """Return the share of the frames with a smaller value, for each of (N,) values; 0 for 0.

    Ranks make signals of different spread comparable. A signal that is the same in all frames
    ranks all of them 0.
    """
    if len(values) < 2:
        return np.zeros(len(values))
    return np.searchsorted(np.sort(values), values, 'left') / (len(values) - 1)


def worth(signals: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float64]:
    """Return the mean rank of each frame's signals, (N,) in [0, 1].

    Args:
        signals: by frame; all frames have the same signals, at least one.
    """
    table = [ranks(np.array([frame[name] for frame in signals])) for name in signals[0]]
    return np.mean(table, axis=0)


def choose_diverse(score: Floats, layouts: Floats) -> Iterator[int]:
    """Yield the indices of frames, greedily: the next one maximises score times distance.

    The distance is that to the nearest frame that was yielded before. Frames with the same layout
    as an earlier one are never yielded.

    Args:
        score: (N,) in [0, 1].
        layouts: (N, D), see `layout`.
    """
    distance = np.ones(len(score))
    while len(score):
        # Frames without any signal may be chosen too, after the others.
        gain = (score + 1e-3) * distance
        best = int(gain.argmax())
        if distance[best] < 1e-3:
            return
        yield best
        distance = np.minimum(distance, layout_distance(layouts[best], layouts))
        distance[best] = 0
