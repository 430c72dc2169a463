# SPDX-License-Identifier: Apache-2.0
"""Reader of Cityscapes (Cordts et al., 2016), fine annotations, 19 classes.

Layout as downloaded: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
`gtFine/<split>/<city>/*_gtFine_instanceIds.png`, whose pixels hold a class's id, or
1000 times the id plus the instance's number; a thing class without a number is a crowd.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet

from .files import (
    FilePair,
    FileReader,
    Maps,
    number_instances,
    read_id_map,
    split_ids,
    thing_table,
)

LABELS = LabelSet(
    (
        Label('road', False, (128, 64, 128), 7),
        Label('sidewalk', False, (244, 35, 232), 8),
        Label('building', False, (70, 70, 70), 11),
        Label('wall', False, (102, 102, 156), 12),
        Label('fence', False, (190, 153, 153), 13),
        Label('pole', False, (153, 153, 153), 17),
        Label('traffic light', False, (250, 170, 30), 19),
        Label('traffic sign', False, (220, 220, 0), 20),
        Label('vegetation', False, (107, 142, 35), 21),
        Label('terrain', False, (152, 251, 152), 22),
        Label('sky', False, (70, 130, 180), 23),
        Label('person', True, (220, 20, 60), 24),
        Label('rider', True, (255, 0, 0), 25),
        Label('car', True, (0, 0, 142), 26),
        Label('truck', True, (0, 0, 70), 27),
        Label('bus', True, (0, 60, 100), 28),
        Label('train', True, (0, 80, 100), 31),
        Label('motorcycle', True, (0, 0, 230), 32),
        Label('bicycle', True, (119, 11, 32), 33),
    )
)
"""The evaluated classes by train id; category_id is the data set's own id."""

INSTANCES = 1000
"""Ids of this or more are 1000 * class + instance."""


class Cityscapes(FileReader):
    """One split of Cityscapes.

    Args:
        folder: holds leftImg8bit/ and gtFine/.
        split: `train`, `val`, or `test`, which is published without labels.

    Raises:
        FileNotFoundError: if there are no images.
    """

    name = 'cityscapes'
    help = 'Cityscapes, fine annotations, 19 classes'
    marks = ('leftImg8bit',)
    splits = ('train', 'val', 'test')
    submission = 'cityscapes_panoptic_{split}'
    labels = LABELS

    def __init__(self, folder: Path, split: str) -> None:
        where = Path(folder) / 'leftImg8bit' / split
        super().__init__(
            [
                FilePair(
                    path,
                    Path(folder)
                    / 'gtFine'
                    / split
                    / path.parent.name
                    / path.name.replace('_leftImg8bit', '_gtFine_instanceIds'),
                )
                for path in sorted(where.glob('*/*_leftImg8bit.png'))
            ],
            where,
        )

    @property
    def image_ids(self) -> list[int | str]:
        """City and frame numbers, as in the official ground truth in COCO's format."""
        return [pair.image.stem.removesuffix('_leftImg8bit') for pair in self.pairs]

    def read_labels(self, index: int) -> Maps:
        """Return classes and instances of an instanceIds file."""
        path = self.pairs[index].labels
        return decode(read_id_map(path), path)


def decode(ids: npt.NDArray[np.integer], where: Path | str = 'instanceIds') -> Maps:
    """Return class and instance of each pixel of an instanceIds file.

    Args:
        ids: (H, W) values of its pixels.
        where: name of the file for error messages.

    Returns:
        class_map and instance_map, (H, W); instances are numbered from 1 over all classes.

    Raises:
        ValueError: for an id below 0 or of a class over 255.
    """
    if ids.min(initial=0) < 0 or ids.max(initial=0) >= 256 * INSTANCES:
        raise ValueError(
            f'{where}: ids must lie in 0 to {256 * INSTANCES - 1}, got {ids.min()} to {ids.max()}'
        )
    return split_ids(ids, _describe)


def _describe(found: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    class_of = np.full(256, VOID_ID, np.uint8)
    class_of[list(LABELS.class_id_of_category)] = list(LABELS.class_id_of_category.values())
    numbered = found >= INSTANCES
    classes = class_of[np.where(numbered, found // INSTANCES, found).clip(max=255)]
    return classes, number_instances(numbered & thing_table(LABELS)[classes])
