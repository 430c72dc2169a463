# SPDX-License-Identifier: Apache-2.0
"""Reader that leaves out files that cannot be read."""

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from .files import FileReader
from .sample import Sample

logger = logging.getLogger(__name__)


class Skipping:
    """Reader without the bad samples of another reader.

    A sample whose fault only shows when it is read is replaced by the next good one. It is logged
    once, and counted across the loader's processes.

    Args:
        reader: the underlying reader.
        faults: known faults by sample index.

    Raises:
        ValueError: if all samples are bad.
    """

    def __init__(self, reader: FileReader, faults: Mapping[int, str]) -> None:
        self.reader, self.labels = reader, reader.labels
        self.submission = reader.submission
        self.kept = [i for i in range(len(reader)) if i not in faults]
        if not self.kept:
            raise ValueError(
                f'all {len(reader)} samples are bad, e.g. {next(iter(faults.values()))}'
            )
        self.bad = torch.zeros(len(self.kept), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Clips of the remaining samples."""
        place = {index: i for i, index in enumerate(self.kept)}
        return tuple(tuple(place[i] for i in clip if i in place) for clip in self.reader.clips)

    @property
    def image_ids(self) -> list[int | str]:
        """Image ids of the remaining samples."""
        ids = self.reader.image_ids
        return [ids[i] for i in self.kept]

    @property
    def image_names(self) -> list[str]:
        """Names of the remaining samples."""
        names = self.reader.image_names
        return [names[i] for i in self.kept]

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return a random order."""
        return rng.permutation(len(self))

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Return sample `index`, or the next one that can be read.

        Raises:
            ValueError: if no sample can be read.
        """
        for place in (*range(index, len(self)), *range(index)):
            if self.bad[place]:
                continue
            try:
                return self.reader.read(self.kept[place], epoch_seed)
            except (ValueError, OSError) as error:
                self.bad[place] = True
                logger.warning('left out, the next image is taken instead: %s', error)
        raise ValueError(f'none of {len(self)} samples can be read')

    def summary(self) -> str:
        """Return a line about the samples that failed to be read; empty if none did."""
        names = [
            self.reader.pairs[self.kept[i]].image.name for i in self.bad.nonzero()[:, 0].tolist()
        ]
        return (
            f'{len(names)} of {len(self)} samples were left out: {listing(names)}' if names else ''
        )


def listing(names: list[str], most: int = 10) -> str:
    """Return the first few names, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
