# SPDX-License-Identifier: Apache-2.0
"""Reader of COCO's instance annotations: overlapping outlines become panoptic labels."""

from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panoptic_ros.core.coco_format import read_images, read_json
from panoptic_ros.core.json_values import Item, each, number, text
from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_ros.core.palette import distinct_color
from panoptic_ros.core.text import counted

from .files import FilePair, FileReader, Maps, fault_of
from .outlines import Instance, check_reach, encloses, mask_of, read_instance_annotations
from .skipping import listing

BACKGROUND_COLOR = (96, 96, 96)


class Category(NamedTuple):
    """An entry of `categories`."""

    category_id: int
    name: str
    group: str | None
    """Its `supercategory`."""


class Polygons(FileReader):
    """Reader of the images of a COCO instances JSON.

    Where annotations overlap, the smaller one is on top; crowds are below all others. Uncovered
    pixels are void, or belong to a stuff class for the background.

    Args:
        path: the JSON file.
        images: the folder of the images.
        background: name of the class of uncovered pixels; None for void.
        crowds_are_objects: treat annotations marked `iscrowd` as single objects; CVAT marks every
            mask so.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not in COCO's instance format.
    """

    def __init__(
        self,
        path: Path,
        images: Path,
        background: str | None = None,
        crowds_are_objects: bool = False,
    ) -> None:
        document = read_json(path)
        listed = read_images(document, path)
        self.of_image = read_instance_annotations(document, path)
        if crowds_are_objects:
            self.of_image = {
                i: [one._replace(crowd=False) for one in found]
                for i, found in self.of_image.items()
            }
        unknown = [i for i in self.of_image if i not in listed]
        if unknown:
            raise ValueError(
                f'{path}: image {unknown[0]} is annotated and not listed in '
                f'`images` ({len(unknown)} such)'
            )
        if not self.of_image:
            raise ValueError(f'{path} has no annotations')
        used = {one.category_id for found in self.of_image.values() for one in found}
        found, self.unused = without_groups(
            each(document.get('categories'), f'{path}: categories', _category), used
        )
        labels = [
            Label(c.name, True, distinct_color(i), c.category_id) for i, c in enumerate(found)
        ]
        if background is not None:
            if not background.strip() or background in [label.name for label in labels]:
                raise ValueError(
                    f'the background needs a name that is not one of the classes of {path}, '
                    f'{", ".join(label.name for label in labels)}; got {background!r}'
                )
            labels.append(
                Label(
                    background,
                    False,
                    BACKGROUND_COLOR,
                    max((label.category_id for label in labels), default=0) + 1,
                )
            )
        try:
            self.labels = LabelSet(tuple(labels))
        except ValueError as error:
            raise ValueError(f'{path}: categories: {error}') from None
        self.background = VOID_ID if background is None else len(labels) - 1
        self.entries = sorted(listed.values(), key=lambda image: image.file_name)
        self.lost = 0
        """Number of instances without a visible pixel in the images read so far."""
        super().__init__(
            [FilePair(images / image.file_name, path) for image in self.entries], path
        )

    def faults(self) -> dict[int, str]:
        """Return by index the faults that headers and annotations reveal."""
        return {i: fault for i in range(len(self)) if (fault := fault_of(partial(self._check, i)))}

    def read_labels(self, index: int) -> Maps:
        """Return classes and instances, drawn from the largest to the smallest.

        Raises:
            ValueError: for a segmentation that cannot be drawn.
        """
        entry = self.entries[index]
        shape = self.size_of(index)
        class_map = np.full(shape, self.background, np.uint8)
        instance_map = np.zeros(shape, np.int32)
        drawn = []
        for place, one in enumerate(self.of_image.get(entry.image_id, ()), 1):
            if one.outline is None or is_flat(one):
                continue
            try:
                mask = mask_of(one.outline, shape)
            except ValueError as error:
                raise ValueError(
                    f'{self.pairs[index].labels}: {one.name} of {entry.file_name} '
                    f'cannot be drawn: {error}'
                ) from None
            drawn.append((not one.crowd, -int(mask.sum()), place, one.category_id, mask))
        for is_object, _, place, category, mask in sorted(drawn, key=lambda item: item[:3]):
            class_map[mask] = self.labels.class_id_of_category[category]
            instance_map[mask] = place if is_object else 0
        visible = np.unique(instance_map[instance_map > 0])
        self.lost += sum(item[0] for item in drawn) - len(visible)
        return class_map, instance_map

    def notes(self) -> list[str]:
        """See `FileReader.notes`."""
        every = [one for found in self.of_image.values() for one in found]
        with_objects = {one.category_id for one in every if not one.crowd}
        crowds = sorted({one.category_id for one in every} - with_objects)
        names = [self.labels.names[self.labels.class_id_of_category[c]] for c in crowds]
        flat = [one.name for one in every if is_flat(one)]
        empty = [image.file_name for image in self.entries if image.image_id not in self.of_image]
        return [
            note
            for count, note in (
                (
                    self.unused,
                    f'classes left out, which no annotation uses: {listing(self.unused)}',
                ),
                (
                    names,
                    'all annotations of these classes are crowds, so there is no object to '
                    f'learn: {listing(names)} (--crowds-are-objects makes each an object)',
                ),
                (empty, f'no annotation in {counted(len(empty), "image")}: {listing(empty)}'),
                (
                    flat,
                    f'left out, without area: {counted(len(flat), "outline")}: {listing(flat)}',
                ),
                (
                    self.lost,
                    f'{self.lost} instances are left out: smaller ones cover them completely, '
                    'or they contain no pixel',
                ),
            )
            if count
        ]

    def _check(self, index: int) -> None:
        entry, path = self.entries[index], self.pairs[index].image
        size = self.size_of(index)
        if entry.size is not None and entry.size != size:
            raise ValueError(
                f'{path} is {size[0]} x {size[1]}, {self.pairs[index].labels} says '
                f'{entry.size[0]} x {entry.size[1]}'
            )
        for one in self.of_image.get(entry.image_id, ()):
            if one.category_id not in self.labels.class_id_of_category:
                raise ValueError(f'{path}: {one.name} has unknown category_id {one.category_id}')
            if one.outline is None:
                raise ValueError(
                    f'{path}: {one.name} has no segmentation; a box alone does not say '
                    'which pixels belong to the object: draw an outline or remove the '
                    'annotation'
                )
            polygons = one.outline if isinstance(one.outline, list) else []
            if fault := fault_of(partial(check_reach, polygons, size)):
                raise ValueError(f'{path}: {one.name}: {fault}')


def is_flat(one: Instance) -> bool:
    """Return whether an annotation has polygons, none of which encloses an area."""
    return isinstance(one.outline, list) and not any(map(encloses, one.outline))


def without_groups(categories: list[Category], used: Set[int]) -> tuple[list[Category], list[str]]:
    """Remove categories that are not classes.

    Roboflow lists the project itself as a category to which all others belong, often with the
    name of one of them.

    Args:
        categories: of a file.
        used: category ids of the annotations.

    Returns:
        the remaining categories, and the names of the removed ones.
    """
    names = {c.name for c in categories if c.category_id in used}
    left_out = [
        c
        for c in categories
        if c.category_id not in used
        and (
            c.name in names
            or (
                c.group in (None, 'none')
                and any(other.group == c.name for other in categories if other is not c)
            )
        )
    ]
    return [c for c in categories if c not in left_out], [c.name for c in left_out]


def _category(entry: Item) -> Category:
    group = entry.get('supercategory')
    return Category(
        number(entry, 'id'), text(entry, 'name').strip(), group if isinstance(group, str) else None
    )
