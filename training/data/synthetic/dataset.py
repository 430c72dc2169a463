# SPDX-License-Identifier: Apache-2.0
"""The synthetic city as a data set: fresh frames to train on, fixed ones to validate."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..sample import Sample
from . import LABELS, SPLITS, SyntheticClip

CLIPS_AT_ONCE = 8
"""Streets whose frames are mixed; drawing a street costs as much as several frames."""


class City:
    """One split of the synthetic city.

    Args:
        split: `train`, `val` or `test`; their seeds are apart.
        size: (height, width) of the frames, px.
        length: samples. In `train` of an epoch, in which each street is new.
        frames_per_clip: samples from one street.
        frames: frame numbers below this are drawn.
        video: the samples of a street are its first frames in time order, a clip whose instance
            ids last, instead of frames drawn at random.
        in_a_row: samples of a street that stay together in an epoch's order, for losses that look
            at a thing in several frames. On one device, whose batches hold whole rows.
        within: such frames lie less than this many apart.
        randomised: share of the streets that are drawn with domain randomisation.
        hidden: samples say which thing goes on under the one that is seen; takes another look at
            each frame.

    Raises:
        ValueError: if the split is unknown or has too few seeds for its length.
    """

    labels = LABELS

    def __init__(
        self,
        split: str,
        size: tuple[int, int] = (256, 512),
        length: int = 200,
        frames_per_clip: int = 1,
        frames: int = 400,
        in_a_row: int = 1,
        within: int = 20,
        hidden: bool = False,
        video: bool = False,
        randomised: float = 0.0,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'the city has the splits {", ".join(SPLITS)}, got {split!r}')
        self.fresh, self.seeds = split == 'train', SPLITS[split]
        self.size, self.length, self.frames = (size[0], size[1]), length, frames
        self.frames_per_clip, self.hidden, self.video = frames_per_clip, hidden, video
        self.in_a_row, self.within, self.randomised = in_a_row, within, randomised
        if in_a_row < 1 or within < 1 or frames_per_clip % in_a_row or length % in_a_row:
            raise ValueError(
                'the city needs in_a_row and within of at least 1, and '
                'frames_per_clip and length in multiples of in_a_row, got '
                f'{in_a_row}, {within}, {frames_per_clip} and {length}'
            )
        if not self.fresh and length > len(self.seeds) * frames_per_clip:
            raise ValueError(
                f"the city's split {split} has {len(self.seeds)} seeds, too few for "
                f'{length} samples, {frames_per_clip} of each'
            )

    def __len__(self) -> int:
        return self.length

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Indices of each street's frames in time order; none unless `video`."""
        starts = range(0, self.length if self.video else 0, self.frames_per_clip)
        return tuple(
            tuple(range(start, min(start + self.frames_per_clip, self.length))) for start in starts
        )

    @property
    def image_ids(self) -> list[int | str]:
        """Running numbers."""
        return [f'{i:06d}' for i in range(self.length)]

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Some streets at a time, their frames (or rows of frames) shuffled."""
        rows = np.arange(self.length).reshape(-1, self.in_a_row)
        block = CLIPS_AT_ONCE * self.frames_per_clip // self.in_a_row
        blocks = np.split(rows, range(block, len(rows), block))
        return np.concatenate([rng.permutation(block) for block in blocks]).ravel()

    def _number(self, index: int, epoch_seed: int) -> int:
        """Which of the street's frames a sample is: the first of its row, or one soon after."""
        first = index - index % self.in_a_row
        number = int(np.random.default_rng((epoch_seed, first, 1)).integers(self.frames))
        if index > first:
            number += int(np.random.default_rng((epoch_seed, index, 2)).integers(self.within))
        return number

    def read(self, index: int, epoch_seed: int) -> Sample:
        """A frame of street `index // frames_per_clip`; in `train`, of streets of the epoch."""
        street = index // self.frames_per_clip
        if self.fresh:
            street = int(np.random.default_rng((epoch_seed, street)).integers(len(self.seeds)))
        number = index % self.frames_per_clip if self.video else self._number(index, epoch_seed)
        seed = self.seeds[street]
        randomised = np.random.default_rng((seed, 3)).random() < self.randomised
        clip = _clip(seed, self.size, randomised=bool(randomised))
        frame = clip.frame(number)
        is_thing = np.append(LABELS.is_thing, np.zeros(256 - len(LABELS), bool))
        return Sample(
            frame.image,
            frame.class_map,
            np.where(is_thing[frame.class_map], frame.track_map, 0).astype(np.int32),
            clip.hidden_map(number) if self.hidden else None,
        )


@lru_cache(maxsize=CLIPS_AT_ONCE)
def _clip(seed: int, size: tuple[int, int], randomised: bool) -> SyntheticClip:
    return SyntheticClip(seed, size, randomised=randomised)
