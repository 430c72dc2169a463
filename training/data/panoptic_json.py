# SPDX-License-Identifier: Apache-2.0
"""Base of the readers of COCO's panoptic format: a JSON file and PNGs of segment ids."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import (
    Annotation,
    read_annotations,
    read_ids,
    read_images,
    read_json,
    read_labels,
)
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.core.text import counted

from .files import FilePair, FileReader, Maps, number_instances, split_ids, thing_table
from .skipping import listing


class PanopticJson(FileReader):
    """Reader of the images that a JSON file annotates, in its order.

    Args:
        path: the JSON file.
        masks: the folder of its PNGs; None for a file that only lists images, all of whose pixels
            are void then.
        images: the folder of the images.
        labels: the classes; None for those of the file's `categories`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not in COCO's panoptic format.
    """

    def __init__(
        self, path: Path, masks: Path | None, images: Path, labels: LabelSet | None = None
    ) -> None:
        document = read_json(path, 'annotations' if masks else 'images')
        self.labels = labels or read_labels(document, path)
        listed = read_images(document, path)
        self.listed_ids, self.annotated = list(listed), masks is not None
        self.annotations: list[Annotation] = []
        self.unlabelled: list[str] = []
        if masks is None:
            files = [images / image.file_name for image in listed.values()]
            super().__init__([FilePair(file, file) for file in files], images)
            return
        found = read_annotations(document, path, masks, self.labels)
        unnamed = [i for i in found if i not in listed]
        if unnamed:
            raise ValueError(
                f'{path}: image {unnamed[0]} is annotated and not listed in `images` '
                f'({len(unnamed)} such)'
            )
        self.annotations = list(found.values())
        self.unlabelled = [image.file_name for i, image in listed.items() if i not in found]
        super().__init__(
            [
                FilePair(images / listed[i].file_name, annotation.path, self.clip_of(annotation))
                for i, annotation in found.items()
            ],
            images,
        )

    @property
    def image_ids(self) -> list[int | str]:
        """Image ids of the JSON file."""
        if not self.annotated:
            return list(self.listed_ids)
        return [annotation.image_id for annotation in self.annotations]

    def notes(self) -> list[str]:
        """See `FileReader.notes`."""
        return (
            [
                f'left out, without annotation: {counted(len(self.unlabelled), "image")}: '
                f'{listing(self.unlabelled)}'
            ]
            if self.unlabelled
            else []
        )

    def clip_of(self, annotation: Annotation) -> str:
        """Return the name of the video that an image belongs to, empty for single images."""
        return ''

    def number_instances(
        self, segments: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.integer]:
        """Return the instance ids of an image's segments, 0 for those without one.

        Args:
            segments: segment ids in the file.
            counted: which of them are instances.
        """
        return number_instances(counted)

    def read_labels(self, index: int) -> Maps:
        """Return classes and instances of the PNG.

        Raises:
            FileNotFoundError, ValueError: for a PNG that is missing or contradicts the JSON.
        """
        if not self.annotated:
            size = self.size_of(index)
            return np.full(size, VOID_ID, np.uint8), np.zeros(size, np.int32)
        annotation = self.annotations[index]
        class_of, is_thing = self.labels.class_id_of_category, thing_table(self.labels)

        def describe(
            found: npt.NDArray[np.int64],
        ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]:
            classes = np.array(
                [class_of[annotation.category_of[i]] if i else VOID_ID for i in found.tolist()],
                np.uint8,
            )
            crowd = np.isin(found, list(annotation.crowd))  # has a class, but no instance
            return classes, self.number_instances(found, is_thing[classes] & ~crowd)

        return split_ids(read_ids(annotation).astype(np.int32), describe)
