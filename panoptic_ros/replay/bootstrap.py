# SPDX-License-Identifier: Apache-2.0
"""Paired block bootstrap of the difference between two replays.

A block is a camera's images of about one second. Each draw takes the same blocks, with
replacement, from both replays: images taken at the same time stay paired, and neighbouring images,
which are strongly correlated, stay together.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from panoptic_ros.replay.frame_records import FrameRecord

BLOCK_S = 1.0
"""Length of a block; a tenth of the clip if that is shorter."""

MIN_BLOCKS = 5
"""With fewer blocks the variance of a difference cannot be estimated."""

DRAWS = 2000

LEVEL = 0.95
"""Confidence level of the intervals."""

Floats = npt.NDArray[np.float64]
Pair = tuple[FrameRecord, FrameRecord]
"""Records of one image in two replays."""


class BlockBootstrap:
    """Blocks of paired images, and the random draws of blocks."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """Divide the images into blocks by stamp, or by time of recording if all stamps are equal.

        Args:
            pairs: at least one.
        """
        times_ns = [a.stamp_ns for a, _ in pairs]
        if min(times_ns) == max(times_ns):  # unusable stamps
            times_ns = [a.recorded_ns for a, _ in pairs]
        start_ns, span_s = min(times_ns), (max(times_ns) - min(times_ns)) / 1e9
        length_ns = max(1.0, min(BLOCK_S, span_s / 10) * 1e9)
        keys = [
            (a.camera, int((time_ns - start_ns) / length_ns))
            for time_ns, (a, _) in zip(times_ns, pairs, strict=True)
        ]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        self.blocks = np.array([number[key] for key in keys])
        """(N,) block of each pair."""
        self.count = len(number)
        self._weights: Floats | None = None  # (DRAWS, blocks) how often a draw has a block
        if self.count >= MIN_BLOCKS:
            chances = np.full(self.count, 1 / self.count)
            draws = np.random.default_rng(0).multinomial(self.count, chances, DRAWS)
            self._weights = draws.astype(float)

    def draw_sums(self, sums: Floats) -> Floats | None:
        """Return the sum over the blocks of each draw; None if there are too few blocks.

        Args:
            sums: (blocks, ...) sums over the images of each block.

        Returns:
            (DRAWS, ...).
        """
        return None if self._weights is None else np.tensordot(self._weights, sums, 1)


def interval(draws: Floats) -> tuple[float, float] | None:
    """Return the confidence interval of the difference between the second and the first replay.

    Args:
        draws: (D, 2) value of both replays in each draw.

    Returns:
        None if more than half of the draws have no value (NaN).
    """
    difference = draws[:, 1] - draws[:, 0]
    difference = difference[~np.isnan(difference)]
    if len(difference) < len(draws) / 2:
        return None
    low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
