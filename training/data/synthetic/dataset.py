# SPDX-License-Identifier: Apache-2.0
"""The synthetic city as a data set: new streets in training, fixed ones in validation."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.text import short

from ..files import thing_table
from ..sample import Sample
from . import LABELS, SPLITS, SyntheticClip
from .light import TIMES_OF_DAY

CLIPS_AT_ONCE = 8
"""Streets whose frames are mixed; drawing a street costs as much as several frames."""


class City:
    """One split of the synthetic city.

    Args:
        split: `train`, `val` or `test`; no street is in two of them.
        size: (height, width) of the frames, px.
        length: number of samples; in `train`, per epoch, and each epoch has new streets.
        frames_per_clip: number of samples of one street.
        frames: upper bound of the frame numbers, exclusive.
        video: take the first frames of each street in time order, as a clip with lasting instance
            ids, instead of random frames.
        clip_length: number of samples of one street that stay adjacent in an epoch's order, for
            losses that compare frames of a clip; they go to one process.
        max_frame_gap: upper bound, exclusive, of the distance between the frame number of a
            clip's first sample and those of its others.
        randomised: share of the streets that are drawn with domain randomisation.
        time_of_day: `any` (day or dusk), `day` or `night`.
        hidden: add `Sample.hidden_map`; each frame is rendered a second time for it.

    Raises:
        ValueError: if the size is no size, the split has too few seeds for its length, or lengths
            are not multiples.
    """

    name = 'synthetic'
    help = 'the synthetic city, drawn from a seed'
    marks = ()
    splits: ClassVar[dict[str, range]] = SPLITS
    knows_hidden = True
    submission = ''
    renamed: ClassVar[dict[str, str]] = {'in_a_row': 'clip_length', 'within': 'max_frame_gap'}
    labels = LABELS

    def __init__(
        self,
        split: str,
        size: tuple[int, int] = (256, 512),
        length: int = 200,
        frames_per_clip: int = 1,
        frames: int = 400,
        clip_length: int = 1,
        max_frame_gap: int = 20,
        hidden: bool = False,
        video: bool = False,
        randomised: float = 0.0,
        time_of_day: str = 'any',
    ) -> None:
        if (
            not isinstance(size, (list, tuple))
            or len(size) != 2
            or not all(type(n) is int and n > 0 for n in size)
        ):
            raise ValueError(f'the city needs a size [height, width] in pixels, got {short(size)}')
        self.is_training, self.seeds = split == 'train', self.splits[split]
        self.size, self.length, self.frames = (size[0], size[1]), length, frames
        self.frames_per_clip, self.hidden, self.video = frames_per_clip, hidden, video
        self.clip_length, self.max_frame_gap = clip_length, max_frame_gap
        self.randomised, self.time_of_day = randomised, time_of_day
        if time_of_day not in TIMES_OF_DAY:
            raise ValueError(
                f'the city needs a time_of_day of {", ".join(TIMES_OF_DAY)}, '
                f'got {short(time_of_day)}'
            )
        if (
            min(clip_length, max_frame_gap) < 1
            or frames_per_clip % clip_length
            or (length % clip_length)
        ):
            raise ValueError(
                'the city needs clip_length and max_frame_gap of at least 1, and '
                'frames_per_clip and length in multiples of clip_length, got '
                f'{clip_length}, {max_frame_gap}, {frames_per_clip} and {length}'
            )
        if not self.is_training and length > len(self.seeds) * frames_per_clip:
            raise ValueError(
                f"the city's split {split} has {len(self.seeds)} seeds, too few for "
                f'{length} samples, {frames_per_clip} of each'
            )

    def __len__(self) -> int:
        return self.length

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Indices of each street's frames in time order; empty unless `video`."""
        starts = range(0, self.length if self.video else 0, self.frames_per_clip)
        return tuple(
            tuple(range(start, min(start + self.frames_per_clip, self.length))) for start in starts
        )

    @property
    def image_ids(self) -> list[int | str]:
        """Running numbers of six digits."""
        return [*self.image_names]

    @property
    def image_names(self) -> list[str]:
        """Running numbers of six digits."""
        return [f'{i:06d}' for i in range(self.length)]

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return the order of an epoch: blocks of a few streets, whose clips are shuffled."""
        clips = np.arange(self.length).reshape(-1, self.clip_length)
        block = CLIPS_AT_ONCE * self.frames_per_clip // self.clip_length
        blocks = np.split(clips, range(block, len(clips), block))
        return np.concatenate([rng.permutation(block) for block in blocks]).ravel()

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Return a frame of street `index // frames_per_clip`; `train` has new ones each epoch."""
        street = index // self.frames_per_clip
        if self.is_training:
            street = int(np.random.default_rng((epoch_seed, street)).integers(len(self.seeds)))
        number = self._frame_number(index, epoch_seed)
        seed = self.seeds[street]
        randomised = np.random.default_rng((seed, 3)).random() < self.randomised
        clip = _clip(seed, self.size, randomised=bool(randomised), time_of_day=self.time_of_day)
        frame = clip.frame(number)
        return Sample(
            frame.image,
            frame.class_map,
            np.where(thing_table(LABELS)[frame.class_map], frame.track_map, 0).astype(np.int32),
            clip.hidden_map(number) if self.hidden else None,
        )

    def _frame_number(self, index: int, epoch_seed: int) -> int:
        """Return the frame number of a sample in its street."""
        if self.video:
            return index % self.frames_per_clip
        first = index - index % self.clip_length
        number = int(np.random.default_rng((epoch_seed, first, 1)).integers(self.frames))
        if index > first:
            rng = np.random.default_rng((epoch_seed, index, 2))
            number += int(rng.integers(self.max_frame_gap))
        return number


@lru_cache(maxsize=CLIPS_AT_ONCE)
def _clip(seed: int, size: tuple[int, int], randomised: bool, time_of_day: str) -> SyntheticClip:
    return SyntheticClip(seed, size, randomised=randomised, time_of_day=time_of_day)
