"""Cityscapes (Cordts et al., 2016), fine annotations, 19 classes.

Layout as downloaded: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
`gtFine/<split>/<city>/*_gtFine_instanceIds.png`, whose pixels hold a class's id, or
1000 times the id plus the instance's number; a thing class without a number is a crowd.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.labels import VOID_ID, Label, LabelSet

from .sample import Sample

LABELS = LabelSet((
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
))
"""The classes that are scored, by train id; category_id is the data set's own id."""

SPLITS = ('train', 'val', 'test')

INSTANCES = 1000
"""Ids from this on are 1000 * class + instance."""


class Cityscapes:
    """One split of Cityscapes.

    Args:
        folder: holds leftImg8bit/ and gtFine/.
        split: `train` or `val`; `test` is published without labels.

    Raises:
        FileNotFoundError: if files are missing.
    """

    labels = LABELS

    def __init__(self, folder: Path, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f'Cityscapes has the splits {", ".join(SPLITS)}, got {split!r}')
        images = sorted(Path(folder).glob(f'leftImg8bit/{split}/*/*_leftImg8bit.png'))
        if not images:
            raise FileNotFoundError(f'no images in {Path(folder) / "leftImg8bit" / split}')
        self.pairs = [(path, Path(folder) / 'gtFine' / split / path.parent.name
                       / path.name.replace('_leftImg8bit', '_gtFine_instanceIds'))
                      for path in images]
        missing = [path for _, path in self.pairs if not path.is_file()]
        if missing:
            raise FileNotFoundError(f'{len(missing)} of {len(images)} label files are missing, '
                                    f'e.g. {missing[0]}')

    def __len__(self) -> int:
        return len(self.pairs)

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Any order is as good."""
        return rng.permutation(len(self))

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Image `index` in the order of the file names, whatever the epoch.

        Raises:
            ValueError: if a file is no image, the sizes differ or an id is out of range.
        """
        path, label_path = self.pairs[index]
        bgr = cv2.imread(str(path))
        ids = cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED)
        if bgr is None or ids is None:
            raise ValueError(f'{path if bgr is None else label_path} is not an image')
        if ids.shape != bgr.shape[:2]:
            raise ValueError(f'{label_path} has shape {ids.shape}, its image {bgr.shape}')
        return Sample(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8),
                      *decode(ids, label_path))


def decode(ids: npt.NDArray[np.integer], where: Path | str = 'instanceIds',
           ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Class and instance of each pixel of an instanceIds file.

    Args:
        ids: (H, W).
        where: the file, for messages.

    Returns:
        class_map and instance_map, (H, W); instances are numbered from 1 over all classes.

    Raises:
        ValueError: for an id below 0 or of a class over 255.
    """
    if ids.min(initial=0) < 0 or ids.max(initial=0) >= 256 * INSTANCES:
        raise ValueError(f'{where}: ids must lie in 0 to {256 * INSTANCES - 1}, got '
                         f'{ids.min()} to {ids.max()}')
    found, place = np.unique(ids, return_inverse=True)
    class_of = np.full(256, VOID_ID, np.uint8)
    class_of[list(LABELS.class_id_of_category)] = list(LABELS.class_id_of_category.values())
    numbered = found >= INSTANCES
    classes = class_of[np.where(numbered, found // INSTANCES, found).clip(max=255)]
    counted = numbered & np.append(LABELS.is_thing, np.zeros(256 - len(LABELS), bool))[classes]
    instance = np.where(counted, np.cumsum(counted), 0).astype(np.int32)
    place = place.reshape(ids.shape)
    return classes[place], instance[place]
