# SPDX-License-Identifier: Apache-2.0
"""Predictions of a data set on disk: COCO's panoptic format, and PNGs of Cityscapes' ids."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core import coco_format
from panoptic_ros.core.files import write_json
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.id_png import write_png
from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.core.inputs import require_folder
from panoptic_ros.core.labels import LabelSet

from ..data.files import IMAGE_SUFFIXES

ImageId = int | str

INSTANCES = 1000
"""Smallest id of an instance in PNGs of ids, 1000 * category + instance, as in Cityscapes."""

SAVING = 0.05
"""Largest fraction of the time that is spent on saving the list of predictions."""


class Predictions(Protocol):
    """Predictions by the index of the image in the reader."""

    @property
    def scored(self) -> bool:
        """Whether segments have scores of their own."""

    @property
    def tracked(self) -> bool:
        """Whether segments have track ids."""

    def read(self, index: int, size: tuple[int, int]) -> PanopticFrame:
        """Return the prediction of an image of (height, width), at its resolution."""


class CocoPredictions:
    """A JSON file and a folder of PNGs in COCO's panoptic format.

    Segments may have a `score`, which average precision needs, and a `track_id`.

    Args:
        path: the JSON file.
        folder: its PNGs.
        labels: classes of the data set; the file has its category ids.
        ids: ids of the images, by index.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if the JSON file is not in that format or has other categories.
    """

    def __init__(self, path: Path, folder: Path, labels: LabelSet, ids: Sequence[ImageId]) -> None:
        self.path, self.labels, self.ids = path, labels, ids
        document = coco_format.read_json(path)
        require_folder(folder, f'folder with the PNGs of {path}')
        if document.get('categories'):
            own = coco_format.read_labels(document, path)
            other = {label.category_id: label.name for label in own.labels}
            for label in labels.labels:
                if other.get(label.category_id, label.name) != label.name:
                    raise ValueError(
                        f'{path}: category {label.category_id} is '
                        f'{other[label.category_id]}, in the data {label.name}'
                    )
        self.annotations = coco_format.read_annotations(document, path, folder, labels)
        self.entries: dict[ImageId, dict[str, Any]] = {
            entry['image_id']: entry for entry in document['annotations']
        }

    @property
    def scored(self) -> bool:
        """See `Predictions`."""
        return self._have('score')

    @property
    def tracked(self) -> bool:
        """See `Predictions`."""
        return self._have('track_id')

    def _have(self, key: str) -> bool:
        return any(
            key in segment for entry in self.entries.values() for segment in entry['segments_info']
        )

    def __contains__(self, index: int) -> bool:
        return self.ids[index] in self.annotations

    def read(self, index: int, size: tuple[int, int]) -> PanopticFrame:
        """See `Predictions`.

        Raises:
            FileNotFoundError: if its PNG does not exist.
            ValueError: if there is no prediction, or it does not fit the image.
        """
        image_id = self.ids[index]
        if image_id not in self.annotations:
            raise ValueError(f'{self.path}: no prediction for image {image_id}')
        annotation = self.annotations[image_id]
        ids = coco_format.read_ids(annotation)
        _check_size(ids, size, annotation.path)
        class_of = self.labels.class_id_of_category
        rows = [
            row
            for row in self.entries[image_id]['segments_info']
            if row['id'] in annotation.category_of
        ]
        try:
            score = np.array([row.get('score', 1.0) for row in rows], np.float32)
            track_id = np.array([row.get('track_id', 0) for row in rows], np.uint32)
            if not np.isfinite(score).all():
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f'{self.path}: image {image_id}: score must be a number and track_id '
                'a whole number from 0'
            ) from None
        return make_frame(
            ids,
            {segment: class_of[category] for segment, category in annotation.category_of.items()},
            self.labels,
            score,
            track_id,
        )


class PredictionStore(CocoPredictions):
    """Predictions of a running evaluation, `predictions.json` and `predictions/`.

    If the process is killed, the files hold the finished images except the last few.

    Args:
        folder: folder of the files.
        labels: classes of the predictions.
        ids: ids of the images, by index.
        names: their names; the PNGs are named like them.

    Raises:
        ValueError: see `png_names`, or if an earlier file is damaged.
    """

    def __init__(
        self, folder: Path, labels: LabelSet, ids: Sequence[ImageId], names: Sequence[str]
    ) -> None:
        self.names, self.png_names = names, png_names(names)
        self.pngs = folder / 'predictions'
        self.pngs.mkdir(parents=True, exist_ok=True)
        path = folder / 'predictions.json'
        self.sizes: dict[ImageId, tuple[int, int]] = {}
        if not path.is_file():
            write_json(
                {'images': [], 'annotations': [], 'categories': coco_format.categories(labels)},
                path,
            )
        super().__init__(path, self.pngs, labels, ids)
        for image in coco_format.read_images(coco_format.read_json(path), path).values():
            if image.size is None:
                raise ValueError(f'{path}: image {image.image_id} has no height and width')
            self.sizes[image.image_id] = image.size
        self._save_next = 0.0

    def write(self, index: int, frame: PanopticFrame) -> None:
        """Add one prediction, a frame of `at_camera`."""
        image_id, ids, name = self.ids[index], frame.segment_map, self.png_names[index]
        write_png(ids, self.pngs / name)
        info = coco_format.segments_info(frame, self.labels)
        self.entries[image_id] = {'image_id': image_id, 'file_name': name, 'segments_info': info}
        self.sizes[image_id] = ids.shape[0], ids.shape[1]
        self.annotations[image_id] = coco_format.Annotation(
            image_id, self.pngs / name, {s['id']: s['category_id'] for s in info}, frozenset()
        )
        if time.monotonic() >= self._save_next:
            self.save()

    def take(self, other: 'PredictionStore') -> None:
        """Move the predictions of another store of the same images here, without saving."""
        for index, image_id in enumerate(self.ids):
            if image_id not in other.annotations:
                continue
            path = self.pngs / self.png_names[index]
            other.annotations[image_id].path.replace(path)
            self.annotations[image_id] = replace(other.annotations[image_id], path=path)
            self.entries[image_id] = other.entries[image_id]
            self.sizes[image_id] = other.sizes[image_id]

    def save(self) -> None:
        """Write the list of predictions; their PNGs are already written."""
        start = time.monotonic()
        write_json(
            {
                'images': [
                    {
                        'id': image_id,
                        'file_name': name,
                        'height': self.sizes[image_id][0],
                        'width': self.sizes[image_id][1],
                    }
                    for image_id, name in zip(self.ids, self.names, strict=True)
                    if image_id in self.sizes
                ],
                'annotations': [
                    self.entries[image_id] for image_id in self.ids if image_id in self.entries
                ],
                'categories': coco_format.categories(self.labels),
            },
            self.path,
            indent=None,
        )
        end = time.monotonic()
        self._save_next = end + (end - start) / SAVING


class IdPredictions:
    """A folder of single-channel PNGs named like the images.

    A pixel holds a category id, or 1000 times that plus the instance's number; any other value is
    void. Pixels of a thing class without an instance number are one segment. In video, equal
    instance numbers are a track.

    Args:
        folder: folder with `<name of the image>.png`.
        labels: classes of the data set.
        names: names of the images, by index.

    Raises:
        ValueError: see `png_names`.
    """

    scored, tracked = False, True

    def __init__(self, folder: Path, labels: LabelSet, names: Sequence[str]) -> None:
        self.folder, self.labels, self.names = folder, labels, png_names(names)

    def read(self, index: int, size: tuple[int, int]) -> PanopticFrame:
        """See `Predictions`.

        Raises:
            FileNotFoundError: if there is no file.
            ValueError: if the file is invalid or does not fit the image.
        """
        path = self.folder / self.names[index]
        if not path.is_file():
            raise FileNotFoundError(f'no prediction {path}')
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2 or ids.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f'{path} is not a PNG of one channel with 8 or 16 bits; PNGs in '
                'colour need their JSON file: give that'
            )
        _check_size(ids, size, path)
        found, place = np.unique(ids.astype(np.int32), return_inverse=True)
        category = np.where(found >= INSTANCES, found // INSTANCES, found)
        classes = {
            i: self.labels.class_id_of_category[c]
            for i, c in enumerate(category.tolist(), 1)
            if c in self.labels.class_id_of_category
        }
        known = np.isin(np.arange(len(found) + 1), list(classes))
        segments = np.where(known, np.arange(len(found) + 1), 0)[1:]
        number = np.where(found >= INSTANCES, found % INSTANCES + 1, 0)  # from 0 on
        return make_frame(
            segments[place].reshape(ids.shape),
            classes,
            self.labels,
            track_id=number[np.array(list(classes), int) - 1],
        )


def open_predictions(
    path: Path, labels: LabelSet, ids: Sequence[ImageId], names: Sequence[str]
) -> Predictions:
    """Open predictions on disk.

    Args:
        path: a JSON file with its PNGs in the folder of the same name, or that folder; a folder
            that an evaluation wrote; or a folder of PNGs of ids, see `IdPredictions`.
        labels: classes of the data set.
        ids: ids of the images, by index.
        names: their names.

    Raises:
        FileNotFoundError: if there are no predictions.
        ValueError: if the JSON file is invalid.
    """
    if path.is_file():
        return CocoPredictions(path, path.with_suffix(''), labels, ids)
    require_folder(path, 'JSON file or folder of predictions')
    for listed, folder in (
        (path / 'predictions.json', path / 'predictions'),
        (path.with_name(f'{path.name}.json'), path),
    ):
        if listed.is_file():
            return CocoPredictions(listed, folder, labels, ids)
    if not any(path.glob('*.png')):
        raise FileNotFoundError(
            f'{path} holds no predictions: expected predictions.json and '
            'predictions/, or PNGs named like the images'
        )
    return IdPredictions(path, labels, names)


def png_names(names: Sequence[str]) -> list[str]:
    """Return the file names of the PNGs of images, which all lie in one folder.

    The suffix of an image's file is left out unless it distinguishes two images.

    Args:
        names: of the images, which may have folders and suffixes.

    Raises:
        ValueError: if file names cannot distinguish the images.
    """
    suffix = re.compile(rf'({"|".join(map(re.escape, IMAGE_SUFFIXES))})$', re.IGNORECASE)
    for stems in ([suffix.sub('', name) for name in names], names):
        found = [re.sub(r'[^\w.-]', '_', stem) + '.png' for stem in stems]
        if len(set(found)) == len(names):
            return found
    raise ValueError(
        'the names of the images differ only in characters that file names cannot hold'
    )


def _check_size(ids: npt.NDArray[Any], size: tuple[int, int], path: Path) -> None:
    if ids.shape != size:
        raise ValueError(
            f'{path} is {ids.shape[0]} x {ids.shape[1]}, its image {size[0]} x {size[1]}'
        )
