# SPDX-License-Identifier: Apache-2.0
"""Reader of COCO panoptic (Kirillov et al., 2019), and of your own data in its format.

Layouts, where <split> is train or val:

- as downloaded: `annotations/panoptic_<split>2017.json`, its PNGs in
  `annotations/panoptic_<split>2017/` (or beside the folder `annotations`), images in
  `<split>2017/`;
- your own: `<split>.json`, its PNGs in `panoptic_<split>/`, images in `<split>/`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from .coco_classes import LABELS
from .coco_hidden import Outlines
from .panoptic_json import PanopticJson
from .sample import Sample


class CocoPanoptic(PanopticJson):
    """One split; `labels` are the JSON's categories in their order.

    Args:
        folder: holds one of the layouts above.
        split: `train`, `val`, or `test` for images without annotations: COCO's test-dev, which
            `annotations/image_info_test-dev2017.json` lists, or your own `test.json`.
        hidden: add `Sample.hidden_map`, from `annotations/instances_<split>2017.json` (or
            `instances_<split>.json` for your own).

    Raises:
        FileNotFoundError: if the JSON file or a folder is missing.
        ValueError: if the JSON is not in COCO's panoptic format.
    """

    name = 'coco'
    help = 'COCO panoptic, or your own data in its format'
    marks = ('annotations/panoptic_*.json', 'train.json', 'val.json')
    splits = ('train', 'val', 'test')
    knows_hidden = True
    labels = LABELS
    """The classes of COCO; an instance has those of its JSON file."""

    def __init__(self, folder: Path, split: str, hidden: bool = False) -> None:
        path, masks, images = (_find_test if split == 'test' else _find)(Path(folder), split)
        official = path.stem == _official(split)
        # COCO's list of test images has the categories of things only.
        super().__init__(path, masks, images, LABELS if official and split == 'test' else None)
        self.folder = images
        own, cocos = (
            {label.category_id: label.name for label in labels.labels}
            for labels in (self.labels, LABELS)
        )
        if official and own == cocos:  # COCO itself; the server parses the name
            part = 'test-dev' if split == 'test' else split
            self.submission = f'panoptic_{part}2017_{{model}}_results'
        # panoptic_<split>2017.json and instances_<split>2017.json, with or without the year
        self.outlines = (
            Outlines(path.with_name(f'instances_{path.stem.removeprefix("panoptic_")}.json'))
            if hidden and masks
            else None
        )

    @property
    def image_names(self) -> list[str]:
        """Paths of the image files below their folder, as the JSON file lists them."""
        return [pair.image.relative_to(self.folder).as_posix() for pair in self.pairs]

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Return image `index` in the JSON's order; the epoch has no effect.

        Raises:
            FileNotFoundError, ValueError: for a file that is missing or contradicts the JSON.
        """
        sample = super().read(index, epoch_seed)
        if self.outlines is None:
            return sample
        ids, first = np.unique(sample.instance_map, return_index=True)
        category_of = {
            int(i): self.labels.labels[sample.class_map.flat[place]].category_id
            for i, place in zip(ids, first, strict=True)
            if i
        }
        return replace(
            sample,
            hidden_map=self.outlines.hidden_map(
                self.annotations[index].image_id, sample.instance_map, category_of
            ),
        )


def _official(split: str) -> str:
    """Return the name of COCO's own JSON file, without suffix, and of the folder of its PNGs."""
    return 'image_info_test-dev2017' if split == 'test' else f'panoptic_{split}2017'


def _find_test(folder: Path, split: str) -> tuple[Path, None, Path]:
    """Return the JSON file that lists the test images, and their folder."""
    name = _official(split)
    for path, images in (
        (folder / 'annotations' / f'{name}.json', folder / 'test2017'),
        (folder / 'test.json', folder / 'test'),
    ):
        if path.is_file() and images.is_dir():
            return path, None, images
    raise FileNotFoundError(
        f'{folder} holds neither annotations/{name}.json and test2017/ nor test.json and test/'
    )


def _find(folder: Path, split: str) -> tuple[Path, Path, Path]:
    """Return the JSON file, the folder of its PNGs and the folder of the images."""
    name = _official(split)
    layouts = [
        (
            folder / 'annotations' / f'{name}.json',
            folder / 'annotations' / name,
            folder / f'{split}2017',
        ),
        (folder / 'annotations' / f'{name}.json', folder / name, folder / f'{split}2017'),
        (folder / f'{split}.json', folder / f'panoptic_{split}', folder / split),
    ]
    for path, masks, images in layouts:
        if path.is_file() and masks.is_dir() and images.is_dir():
            return path, masks, images
    raise FileNotFoundError(
        f'{folder} holds neither annotations/{name}.json, annotations/{name}/ and {split}2017/ '
        f'nor {split}.json, panoptic_{split}/ and {split}/'
    )
