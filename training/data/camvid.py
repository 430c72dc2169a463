# SPDX-License-Identifier: Apache-2.0
"""Reader of CamVid (Brostow et al., 2009): driving video, 11 classes, no instance labels.

Layout: `<folder>/{train,val,test}/images/*.jpg` beside `labels/*.png` of the same stem, whose
pixels hold the ids below, 11 for unlabelled pixels.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet

from .files import FileReader, Maps, fault_of, pair_stems, read_id_map

LABELS = LabelSet(
    (
        Label('sky', False, (70, 130, 180), 0),
        Label('building', False, (70, 70, 70), 1),
        Label('pole', False, (153, 153, 153), 2),
        Label('road', False, (128, 64, 128), 3),
        Label('pavement', False, (244, 35, 232), 4),
        Label('tree', False, (107, 142, 35), 5),
        Label('sign', False, (220, 220, 0), 6),
        Label('fence', False, (190, 153, 153), 7),
        Label('car', True, (0, 0, 142), 8),
        Label('pedestrian', True, (220, 20, 60), 9),
        Label('bicyclist', True, (119, 11, 32), 10),
    )
)

UNLABELLED = 11


def components(
    class_map: npt.NDArray[np.uint8], is_thing: npt.NDArray[np.bool_], min_area: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Make an instance of each 8-connected region of a thing class.

    Args:
        class_map: (H, W) class id.
        is_thing: (C,) whether a class is a thing.
        min_area: regions of fewer pixels become void.

    Returns:
        class_map with small regions void, and instance_map, both (H, W).
    """
    class_map = class_map.copy()
    instance_map = np.zeros(class_map.shape, np.int32)
    count = 0
    for class_id in np.flatnonzero(is_thing):
        regions, index, stats, _ = cv2.connectedComponentsWithStats(
            (class_map == class_id).astype(np.uint8), connectivity=8
        )
        small = stats[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False
        kept = np.cumsum(~small) - 1  # background stays 0
        class_map[small[index]] = VOID_ID
        instance = np.where(small | (np.arange(regions) == 0), 0, kept + count)
        instance_map += instance[index].astype(np.int32)
        count += int(kept[-1])
    return class_map, instance_map


class CamVid(FileReader):
    """One split of CamVid.

    Args:
        folder: holds train/, val/ and test/.
        split: one of them.
        min_area: connected regions of things with fewer pixels become void; most of them are
            parts of distant objects that poles divide.

    Raises:
        FileNotFoundError: if there are no images.
    """

    name = 'camvid'
    help = 'CamVid, 11 classes, instances from connected regions'
    marks = ('train/labels',)
    splits = ('train', 'val', 'test')
    labels = LABELS

    def __init__(self, folder: Path, split: str, min_area: int = 64) -> None:
        images = Path(folder) / split / 'images'
        self.min_area = min_area
        super().__init__(pair_stems(images, images.with_name('labels')), images)

    def faults(self) -> dict[int, str]:
        """See `FileReader.faults`; the labels are decoded too, as the data set is small."""
        found = super().faults()
        for index in set(range(len(self))) - found.keys():
            if fault := fault_of(partial(_read_classes, self.pairs[index].labels)):
                found[index] = fault
        return dict(sorted(found.items()))

    def read_labels(self, index: int) -> Maps:
        """Return the labelled classes, and the connected regions of things as instances."""
        return components(_read_classes(self.pairs[index].labels), LABELS.is_thing, self.min_area)


def _read_classes(path: Path) -> npt.NDArray[np.uint8]:
    ids = read_id_map(path)
    if ids.max(initial=0) > UNLABELLED:
        raise ValueError(f'{path}: ids must lie in 0 to {UNLABELLED}, got {ids.max()}')
    return np.where(ids == UNLABELLED, VOID_ID, ids).astype(np.uint8)
