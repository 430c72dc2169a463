"""COCO panoptic (Kirillov et al., 2019), and any data set of your own in its format.

Layouts, where <split> is train or val:

- as downloaded: `annotations/panoptic_<split>2017.json`, its PNGs in
  `annotations/panoptic_<split>2017/` (or beside the folder `annotations`), images in
  `<split>2017/`;
- your own: `<split>.json`, its PNGs in `panoptic_<split>/`, images in `<split>/`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.labels import VOID_ID
from panoptic_ros.metrics.coco import read_annotations, read_ids, read_json, read_labels

from .coco_classes import LABELS
from .coco_hidden import Outlines
from .sample import Sample

SPLITS = ('train', 'val')


class CocoPanoptic:
    """One split; `labels` are the JSON's categories in their order.

    Args:
        folder: holds one of the layouts above.
        split: `train` or `val`.
        hidden: samples say which instance goes on under the one that is seen; for this,
            `annotations/instances_<split>2017.json` (or `instances_<split>.json` for your own).

    Raises:
        FileNotFoundError: if JSON, PNGs or images are missing.
        ValueError: if the JSON is not in COCO's panoptic format.
    """

    labels = LABELS
    """COCO's own; those of the files once they are read."""

    def __init__(self, folder: Path, split: str, hidden: bool = False) -> None:
        if split not in SPLITS:
            raise ValueError(f'COCO panoptic has the splits {", ".join(SPLITS)}, got {split!r}')
        path, masks, images = _find(Path(folder), split)
        document = read_json(path)
        self.labels = read_labels(document, path)
        annotations = read_annotations(document, path, masks, self.labels)
        files = {image['id']: image['file_name'] for image in document.get('images', ())}
        unnamed = [i for i in annotations if i not in files]
        if unnamed:
            raise ValueError(f'{path}: image {unnamed[0]} is annotated and not listed in `images` '
                             f'({len(unnamed)} such)')
        self.image_ids = list(annotations)
        # panoptic_<split>2017.json and instances_<split>2017.json, with or without the year
        self.outlines = Outlines(path.with_name(
            f'instances_{path.stem.removeprefix("panoptic_")}.json')) if hidden else None
        self.pairs = [(images / files[i], annotation) for i, annotation in annotations.items()]
        for kind, found, paths in (
                ('images', images, (image for image, _ in self.pairs)),
                ('PNGs', masks, (annotation.path for _, annotation in self.pairs))):
            have = {p.name for p in found.iterdir()}
            missing = [p.name for p in paths if p.name not in have]
            if missing:
                raise FileNotFoundError(f'{found}: {len(missing)} of {len(self.pairs)} {kind} are '
                                        f'missing, e.g. {missing[0]}')

    def __len__(self) -> int:
        return len(self.pairs)

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Any order is as good."""
        return rng.permutation(len(self))

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Image `index` in the JSON's order, whatever the epoch.

        Raises:
            ValueError: if image and PNG differ in size or the PNG is not what the JSON says.
        """
        path, annotation = self.pairs[index]
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr is None:
            raise ValueError(f'{path} is not an image')
        ids = read_ids(annotation)
        if ids.shape != bgr.shape[:2]:
            raise ValueError(f'{path} is {bgr.shape[0]} x {bgr.shape[1]}, its PNG is '
                             f'{ids.shape[0]} x {ids.shape[1]}')
        class_of = self.labels.class_id_of_category
        listed = np.array([0, *sorted(annotation.category_of)])
        classes = np.array([VOID_ID] + [class_of[annotation.category_of[i]] for i in listed[1:]],
                           np.uint8)
        counted = np.append(self.labels.is_thing, np.zeros(256 - len(self.labels), bool))[classes]
        counted &= ~np.isin(listed, list(annotation.crowd))  # crowds have class, no instance
        instance = np.where(counted, np.cumsum(counted), 0).astype(np.int32)
        place = np.searchsorted(listed, ids)
        instance_map = instance[place]
        hidden_map = None if self.outlines is None else self.outlines.hidden_map(
            self.image_ids[index], instance_map, {
                int(i): annotation.category_of[segment] for i, segment
                in zip(instance[counted], listed[counted].tolist(), strict=True)})
        return Sample(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8),
                      classes[place], instance_map, hidden_map)


def _find(folder: Path, split: str) -> tuple[Path, Path, Path]:
    """The JSON file, the folder of its PNGs and that of the images."""
    name = f'panoptic_{split}2017'
    layouts = [(folder / 'annotations' / f'{name}.json', folder / 'annotations' / name,
                folder / f'{split}2017'),
               (folder / 'annotations' / f'{name}.json', folder / name, folder / f'{split}2017'),
               (folder / f'{split}.json', folder / f'panoptic_{split}', folder / split)]
    for path, masks, images in layouts:
        if path.is_file() and masks.is_dir() and images.is_dir():
            return path, masks, images
    raise FileNotFoundError(
        f'{folder} holds neither annotations/{name}.json, annotations/{name}/ and {split}2017/ '
        f'nor {split}.json, panoptic_{split}/ and {split}/')
