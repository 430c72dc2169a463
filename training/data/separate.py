# SPDX-License-Identifier: Apache-2.0
"""Reader of images with one PNG of classes and one PNG of instances each."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.class_file import read_class_file
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


class SemanticAndInstance(FileReader):
    """Reader of three folders whose files have the same names.

    Args:
        classes: a class file, see `panoptic_ros.core.class_file`.
        images: folder of the images.
        semantic: folder of PNGs with the class id of each pixel, or a value that the class file
            ignores.
        instance: folder of PNGs with the instance number on things, 0 for a crowd; ignored on
            stuff.

    Raises:
        FileNotFoundError: if there are no images or there is no class file.
        ValueError: if the class file is invalid.
    """

    def __init__(self, classes: Path, images: Path, semantic: Path, instance: Path) -> None:
        class_file = read_class_file(classes)
        self.labels, self.ignore = class_file.labels, class_file.ignore
        self.semantic, self.instance = semantic, instance
        super().__init__(pair_stems(images, semantic, instance), images)

    def read_labels(self, index: int) -> Maps:
        """Return classes and instances of both PNGs.

        Raises:
            FileNotFoundError: if a PNG is missing.
            ValueError: if the PNGs differ in size or a class is unknown.
        """
        path = self.pairs[index].labels
        other = self._instance_of(path)
        classes, instances = (
            read_id_map(path).astype(np.int64),
            read_id_map(other).astype(np.int64),
        )
        if classes.shape != instances.shape:
            raise ValueError(
                f'{path} is {classes.shape[0]} x {classes.shape[1]}, {other} '
                f'{instances.shape[0]} x {instances.shape[1]}'
            )
        class_of, is_thing = self.labels.class_id_of_category, thing_table(self.labels)
        span = int(instances.max(initial=0)) + 1

        def describe(
            found: npt.NDArray[np.int64],
        ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
            unknown = sorted(set((found // span).tolist()) - self.ignore - class_of.keys())
            if unknown:
                raise ValueError(
                    f'{path}: class id {unknown[0]} is not in classes.yaml; where it '
                    f'means that a pixel has no label, add `ignore: [{unknown[0]}]`'
                )
            ids = np.array([class_of.get(c, VOID_ID) for c in (found // span).tolist()], np.uint8)
            return ids, number_instances(is_thing[ids] & (found % span > 0))

        return split_ids(classes * span + instances, describe)

    def _instance_of(self, path: Path) -> Path:
        """Return the PNG of instances of the same name, whose suffix may be in capitals."""
        other = self.instance / path.relative_to(self.semantic)
        return next(
            (
                found
                for suffix in ('.png', '.PNG')
                if (found := other.with_suffix(suffix)).is_file()
            ),
            other,
        )
