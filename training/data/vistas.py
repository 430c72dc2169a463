# SPDX-License-Identifier: Apache-2.0
"""Reader of Mapillary Vistas (Neuhold et al., 2017), the 65 classes of v1.2.

Layout as downloaded: `{training,validation}/images/*.jpg` beside `instances/*.png` (in v2.0
`v1.2/instances/*.png`), whose 16-bit pixels hold 256 times the class's index in `config.json`
plus the instance's number.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID

from .files import (
    FileReader,
    Maps,
    number_instances,
    pair_stems,
    read_id_map,
    split_ids,
    thing_table,
)
from .vistas_classes import LABELS

INSTANCES = 256
"""Ids are this times the class plus the instance number."""

UNLABELED = 65
"""Class of unlabelled pixels."""


class Vistas(FileReader):
    """One split of Mapillary Vistas.

    Args:
        folder: holds training/ and validation/.
        split: `train` or `val`; the test images are published without labels.

    Raises:
        FileNotFoundError: if there are no images.
    """

    name = 'vistas'
    help = 'Mapillary Vistas v1.2, 65 classes'
    marks = ('config*.json', 'training/instances')
    splits: ClassVar[dict[str, str]] = {'train': 'training', 'val': 'validation'}
    labels = LABELS

    def __init__(self, folder: Path, split: str) -> None:
        base = Path(folder) / self.splits[split]
        labels = base / 'v1.2/instances' if (base / 'v1.2').is_dir() else base / 'instances'
        super().__init__(pair_stems(base / 'images', labels), base / 'images')

    def read_labels(self, index: int) -> Maps:
        """Return classes and instances of a 16-bit PNG.

        Raises:
            ValueError: for a class that v1.2 does not have.
        """
        path = self.pairs[index].labels
        ids = read_id_map(path)
        if ids.max(initial=0) >= (UNLABELED + 1) * INSTANCES:
            raise ValueError(
                f'{path}: classes must lie in 0 to {UNLABELED} (v1.2), got '
                f'{ids.max() // INSTANCES}'
            )
        return split_ids(ids, _describe)


def _describe(found: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    places = found // INSTANCES
    classes = np.where(places == UNLABELED, VOID_ID, places).astype(np.uint8)
    # Every id of a thing class is an instance: their numbers start from 0.
    return classes, number_instances(thing_table(LABELS)[classes])
