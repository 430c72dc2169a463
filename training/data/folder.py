# SPDX-License-Identifier: Apache-2.0
"""Readers of your own images with PNGs of ids.

`OwnFolder` reads this layout, `SemanticAndInstance` PNGs of classes and of instances:

    my_data/
      classes.yaml
      images/train/*.jpg    images/val/*.jpg     any common image format
      labels/train/*.png    labels/val/*.png     the same names

classes.yaml is a class file, see `panoptic_ros.core.class_file`. A pixel's id is class id *
divisor + instance number. The PNGs are grey with up to 16 bits, or RGB with the id R + 256 G +
65536 B.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.labels import VOID_ID

from .files import (
    FileReader,
    Maps,
    depth_hint,
    number_instances,
    pair_stems,
    read_id_map,
    split_ids,
    thing_table,
)


class OwnFolder(FileReader):
    """One split of a folder of your own, with the classes of its classes.yaml.

    Args:
        folder: holds classes.yaml, images/ and labels/.
        split: a folder in images/ and labels/.

    Raises:
        FileNotFoundError: if there are no images or there is no classes.yaml.
        ValueError: if classes.yaml is invalid.
    """

    name = 'folder'
    help = 'your own images with PNGs of ids, and classes.yaml'
    marks = ('classes.yaml',)
    splits = ()

    def __init__(self, folder: Path, split: str) -> None:
        self.classes = read_class_file(Path(folder) / 'classes.yaml')
        self.labels = self.classes.labels
        images = Path(folder) / 'images' / split
        super().__init__(pair_stems(images, Path(folder) / 'labels' / split), images)

    def read_labels(self, index: int) -> Maps:
        """Return classes and instances of a PNG.

        Raises:
            ValueError: for an id whose class is not in classes.yaml, or an instance of stuff.
        """
        path = self.pairs[index].labels
        class_of, is_thing = self.labels.class_id_of_category, thing_table(self.labels)
        divisor = self.classes.divisor

        def describe(
            found: npt.NDArray[np.int64],
        ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
            void = np.isin(found, list(self.classes.ignore))
            categories, instances = np.divmod(found, divisor)
            unknown = [
                f'{i} (class {c}, instance {n})'
                for i, c, n in zip(found[~void], categories[~void], instances[~void], strict=True)
                if c not in class_of
            ]
            if unknown:
                raise ValueError(
                    f'{path}: id {unknown[0]} is of no class in classes.yaml; ids '
                    f'are class id * {divisor} + instance number, those of '
                    f'pixels without label are listed under `ignore` '
                    f'({len(unknown)} such){depth_hint(path)}'
                )
            categories[void], instances[void] = -1, 0
            classes = np.array([class_of.get(c, VOID_ID) for c in categories.tolist()], np.uint8)
            wrong = found[(instances > 0) & ~is_thing[classes]]
            if len(wrong):
                raise ValueError(
                    f'{path}: id {wrong[0]} is an instance of '
                    f'{self.labels.names[class_of[wrong[0] // divisor]]!r}, '
                    f'which is stuff ({len(wrong)} such)'
                )
            return classes, number_instances(instances > 0)

        return split_ids(read_id_map(path), describe)


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
                    f'{path}: class id {unknown[0]} is not in classes.yaml; if it '
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
