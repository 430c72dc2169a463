# SPDX-License-Identifier: Apache-2.0
"""Reader of KITTI-STEP (Weber et al., 2021): video, 19 classes, tracks of cars and people.

Layout as downloaded: labels in `panoptic_maps/<split>/<sequence>/<frame>.png` (or below
`kitti-step/` or `kitti_step/`), images of KITTI tracking in `training/image_02/<sequence>/`, or
sorted into `images/<split>/<sequence>/`. Pixels of the labels hold the class in R, 255 for void,
and the track in 256 G + B, 0 for none.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, LabelSet

from .cityscapes import LABELS as CITYSCAPES
from .files import FilePair, FileReader, Maps, read_id_map, split_ids, thing_table

TRACKED = ('person', 'car')

LABELS = LabelSet(
    tuple(
        replace(label, is_thing=label.name in TRACKED, category_id=i)
        for i, label in enumerate(CITYSCAPES.labels)
    )
)
"""Cityscapes' classes by train id; classes without tracks are stuff."""


class KittiStep(FileReader):
    """One split of KITTI-STEP; instance ids are track ids.

    Args:
        folder: holds labels and images as above.
        split: `train` or `val`; `test` is published without labels.

    Raises:
        FileNotFoundError: if there are no labels.
    """

    name = 'kitti_step'
    help = 'KITTI-STEP, video with track ids of cars and people'
    marks = ('panoptic_maps', '*/panoptic_maps')
    splits = ('train', 'val')
    labels = LABELS

    def __init__(self, folder: Path, split: str) -> None:
        folder = Path(folder)
        labels = next(
            (
                path
                for name in ('.', 'kitti-step', 'kitti_step')
                if (path := folder / name / 'panoptic_maps' / split).is_dir()
            ),
            folder / 'panoptic_maps' / split,
        )
        sorted_in = folder / 'images' / split
        images = sorted_in if sorted_in.is_dir() else folder / 'training/image_02'
        super().__init__(
            [
                FilePair(images / path.parent.name / path.name, path, path.parent.name)
                for path in sorted(labels.glob('*/*.png'))
            ],
            labels,
        )

    def read_labels(self, index: int) -> Maps:
        """Return classes and tracks of an RGB PNG.

        Raises:
            ValueError: for an unknown class.
        """
        path = self.pairs[index].labels
        ids = read_id_map(path)  # R + 256 G + 65536 B
        unknown = set(np.unique(ids & 255).tolist()) - {*range(len(LABELS)), VOID_ID}
        if unknown:
            raise ValueError(
                f'{path}: classes (R) must lie in 0 to {len(LABELS) - 1} or be '
                f'{VOID_ID}, got {min(unknown)}'
            )
        return split_ids(ids, _describe)


def _describe(found: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    classes = (found & 255).astype(np.uint8)
    track = (found >> 8 & 255) * 256 + (found >> 16)
    # Tracks are numbered within each class; instance ids must differ across classes.
    kinds = np.flatnonzero(LABELS.is_thing)
    own = track * len(kinds) + np.searchsorted(kinds, classes)
    return classes, np.where(thing_table(LABELS)[classes] & (track > 0), own, 0)
