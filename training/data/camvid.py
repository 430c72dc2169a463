"""CamVid (Brostow et al., 2009): driving video with 11 classes, no instance labels.

Layout: `<folder>/{train,val,test}/images/*.jpg` beside `labels/*.png` of the same stem, whose
pixels hold the ids below, 11 where nothing is labelled.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from panoptic_ros.labels import VOID_ID, Label, LabelSet

from .sample import Sample

LABELS = LabelSet((
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
))

UNLABELLED = 11
SPLITS = ('train', 'val', 'test')


def components(class_map: npt.NDArray[np.uint8], is_thing: npt.NDArray[np.bool_], min_area: int,
               ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Makes instances of things: each 8-connected region of a thing class is one.

    Args:
        class_map: (H, W) class id.
        is_thing: (C,)
        min_area: regions of fewer px become void.

    Returns:
        class_map with small regions void, and instance_map, both (H, W).
    """
    class_map = class_map.copy()
    instance_map = np.zeros(class_map.shape, np.int32)
    count = 0
    for class_id in np.flatnonzero(is_thing):
        regions, index, stats, _ = cv2.connectedComponentsWithStats(
            (class_map == class_id).astype(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False
        kept = np.cumsum(~small) - 1  # background stays 0
        class_map[small[index]] = VOID_ID
        instance = np.where(small | (np.arange(regions) == 0), 0, kept + count)
        instance_map += instance[index].astype(np.int32)
        count += int(kept[-1])
    return class_map, instance_map


class CamVid:
    """One split of CamVid.

    Args:
        folder: holds train/, val/ and test/.
        split: which of them.
        min_area: connected regions of things below this many px become void; they are mostly
            far objects cut apart by poles.

    Raises:
        ValueError, FileNotFoundError: if files are missing, sizes differ or ids are unknown.
    """

    labels = LABELS

    def __init__(self, folder: Path, split: str, min_area: int = 64) -> None:
        if split not in SPLITS:
            raise ValueError(f'CamVid has the splits {", ".join(SPLITS)}, got {split!r}')
        self.folder = Path(folder) / split
        self.min_area = min_area
        images, labels = ({path.stem: path for path in self.folder.glob(f'{name}/*.*')}
                          for name in ('images', 'labels'))
        if not images:
            raise FileNotFoundError(f'no images in {self.folder / "images"}')
        unpaired = sorted(set(images) ^ set(labels))
        if unpaired:
            raise ValueError(f'{self.folder}: each image needs a label file of the same stem; '
                             f'{len(unpaired)} have no partner, e.g. {unpaired[0]!r}')
        self.pairs = [(images[stem], labels[stem]) for stem in sorted(images)]
        for (path, _), class_map in zip(self.pairs, self.class_maps, strict=True):
            if (size := _image_size(path)) != class_map.shape:
                raise ValueError(f'{path} is {size[0]} x {size[1]}, its labels are '
                                 f'{class_map.shape[0]} x {class_map.shape[1]}')

    @cached_property
    def class_maps(self) -> list[npt.NDArray[np.uint8]]:
        """Label files as class maps; 700 of them fit in 120 MB."""
        return [_read_labels(path) for _, path in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Any order is as good."""
        return rng.permutation(len(self))

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Image `index` in the order of the file names, whatever the epoch."""
        path = self.pairs[index][0]
        bgr = cv2.imread(str(path))
        if bgr is None:
            raise ValueError(f'{path} is not an image')
        return Sample(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8),
                      *components(self.class_maps[index], LABELS.is_thing, self.min_area))


def _image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the file's first bytes."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        raise ValueError(f'{path} is not an image') from None


def _read_labels(path: Path) -> npt.NDArray[np.uint8]:
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
        raise ValueError(f'{path} is not an 8-bit PNG of ids')
    if ids.max() > UNLABELLED:
        raise ValueError(f'{path}: ids must lie in 0 to {UNLABELLED}, got {ids.max()}')
    ids[ids == UNLABELLED] = VOID_ID
    return np.asarray(ids, np.uint8)
