# SPDX-License-Identifier: Apache-2.0
"""Reader of ADE20K panoptic (Zhou et al., 2017): 150 classes, 100 of them things.

Layout of `ADEChallengeData2016` with panoptic labels in COCO's format, as Detectron2 and
MMDetection make them: `ade20k_panoptic_<split>.json`, its PNGs in `ade20k_panoptic_<split>/`,
images in `images/{training,validation}/`.
"""

from pathlib import Path
from typing import ClassVar

from .ade20k_classes import LABELS
from .panoptic_json import PanopticJson


class Ade20k(PanopticJson):
    """One split of ADE20K.

    Args:
        folder: ADEChallengeData2016.
        split: `train` or `val`.

    Raises:
        FileNotFoundError: if the JSON file is missing.
        ValueError: if it is not in COCO's panoptic format.
    """

    name = 'ade20k'
    help = 'ADE20K panoptic, 150 classes'
    marks = ('ade20k_panoptic_*.json',)
    splits: ClassVar[dict[str, str]] = {'train': 'training', 'val': 'validation'}
    labels = LABELS

    def __init__(self, folder: Path, split: str) -> None:
        name = f'ade20k_panoptic_{split}'
        # Names in the JSON file end in spaces and list synonyms, so they are not used.
        super().__init__(
            Path(folder) / f'{name}.json',
            Path(folder) / name,
            Path(folder) / 'images' / self.splits[split],
            LABELS,
        )
