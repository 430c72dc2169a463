# SPDX-License-Identifier: Apache-2.0
"""Your own images with PNGs of ids.

    my_data/
      classes.yaml
      images/train/*.jpg    images/val/*.jpg     any common image format
      labels/train/*.png    labels/val/*.png     the same names

classes.yaml lists what the ids mean:

    divisor: 1000
    classes:
      - {id: 1, name: road, kind: stuff}
      - {id: 2, name: car, kind: thing, color: [0, 0, 142]}

A pixel's id is class id * divisor + instance number: 1000 is road, 2001 the first car, 2002 the
second, 2000 a crowd of cars that nobody counted, 0 not labelled. Further ids that mean `not
labelled` are listed as `ignore: [255]`; a class may have the id 0, and then 0 is that class. The
PNGs are grey with up to 16 bits, or RGB with the id R + 256 G + 65536 B.
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.json_values import MAX_NUMBER, short
from panoptic_ros.core.labels import VOID_ID, Label, LabelSet

from .files import FileReader, Maps, number, pair_stems, read_ids, split_ids, thing_table

KINDS = ('thing', 'stuff')


KEYS = ('divisor', 'classes', 'ignore')


class Classes(NamedTuple):
    """What a classes.yaml says."""

    labels: LabelSet
    divisor: int
    ignore: frozenset[int]
    """Values of pixels that are not labelled; 0 is one where no class has the id 0."""


class OwnFolder(FileReader):
    """One split of a folder of your own; `labels` are those of its classes.yaml.

    Args:
        folder: holds classes.yaml, images/ and labels/.
        split: a folder in images/ and labels/.

    Raises:
        FileNotFoundError, ValueError: if a folder is missing or classes.yaml has a mistake.
    """

    name = 'folder'
    help = 'your own images with PNGs of ids, and classes.yaml'
    marks = ('classes.yaml',)
    splits = ()

    def __init__(self, folder: Path, split: str) -> None:
        self.labels, self.divisor, self.ignore = read_classes(Path(folder) / 'classes.yaml')
        images = Path(folder) / 'images' / split
        super().__init__(pair_stems(images, Path(folder) / 'labels' / split), images)

    def read_labels(self, index: int) -> Maps:
        """Classes and instances of a PNG.

        Raises:
            ValueError: for an id whose class is not in classes.yaml, or an instance of stuff.
        """
        path = self.pairs[index].labels
        class_of, is_thing = self.labels.class_id_of_category, thing_table(self.labels)

        def describe(
            found: npt.NDArray[np.int64],
        ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
            void = np.isin(found, list(self.ignore))
            categories, instances = np.divmod(found, self.divisor)
            unknown = [
                f'{i} (class {c}, instance {n})'
                for i, c, n in zip(found[~void], categories[~void], instances[~void], strict=True)
                if c not in class_of
            ]
            if unknown:
                raise ValueError(
                    f'{path}: id {unknown[0]} is of no class in classes.yaml; ids '
                    f'are class id * {self.divisor} + instance number, those of '
                    f'pixels without label are listed under `ignore` '
                    f'({len(unknown)} such)'
                )
            categories[void], instances[void] = -1, 0
            classes = np.array([class_of.get(c, VOID_ID) for c in categories.tolist()], np.uint8)
            wrong = found[(instances > 0) & ~is_thing[classes]]
            if len(wrong):
                raise ValueError(
                    f'{path}: id {wrong[0]} is an instance of '
                    f'{self.labels.names[class_of[wrong[0] // self.divisor]]!r}, '
                    f'which is stuff ({len(wrong)} such)'
                )
            return classes, number(instances > 0)

        return split_ids(read_ids(path), describe)


def read_classes(path: Path) -> Classes:
    """Reads a classes.yaml.

    Raises:
        FileNotFoundError, ValueError: in one line, saying what was expected.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}, which lists the classes')
    content = read_yaml(path)
    entries = content.get('classes') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f'{path} needs a list `classes` of {{id: 1, name: road, kind: stuff}}')
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise ValueError(f'{path}: unknown key {unknown[0]!r}; the keys are: {", ".join(KEYS)}')
    divisor = content.get('divisor', 1000)
    if type(divisor) is not int or not 1 <= divisor <= MAX_NUMBER:
        raise ValueError(f'{path}: divisor must be a whole number over 0, got {short(divisor)}')
    ignore = content.get('ignore', [])
    ignore = ignore if isinstance(ignore, list) else [ignore]
    if not all(type(value) is int and 0 <= value <= MAX_NUMBER for value in ignore):
        raise ValueError(
            f'{path}: ignore must list values of pixels, as [255], got {short(content["ignore"])}'
        )
    try:
        labels = LabelSet(tuple(_label(entry, i) for i, entry in enumerate(entries)))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    ids = set(labels.class_id_of_category)
    twice = sorted((ids | {i * divisor for i in ids}) & set(ignore))
    if twice:
        raise ValueError(f'{path}: {twice[0]} is listed under `ignore`, and is the id of a class')
    return Classes(labels, divisor, frozenset(ignore) | ({0} - ids))


def _label(entry: Any, place: int) -> Label:
    if not isinstance(entry, dict) or not {'id', 'name', 'kind'} <= set(entry) <= {
        'id',
        'name',
        'kind',
        'color',
    }:
        raise ValueError(
            f'a class needs id, name and kind, and may have color, got {short(entry)}'
        )
    if not isinstance(entry['name'], str):
        raise ValueError(
            f'the name of a class must be a text, got {short(entry["name"])}; put it in quotes'
        )
    what = f'class {entry["name"]!r}'
    if type(entry['id']) is not int or not 0 <= entry['id'] <= MAX_NUMBER:
        raise ValueError(f'{what}: id must be a whole number from 0, got {short(entry["id"])}')
    if entry['kind'] not in KINDS:
        raise ValueError(f'{what}: kind must be thing or stuff, got {short(entry["kind"])}')
    try:
        red, green, blue = (int(c) for c in entry.get('color', distinct_color(place)))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f'{what}: color must be [red, green, blue], got {short(entry["color"])}'
        ) from None
    return Label(entry['name'], entry['kind'] == 'thing', (red, green, blue), entry['id'])


def distinct_color(place: int) -> tuple[int, int, int]:
    """A colour unlike those of the classes before it."""
    rgb = colorsys.hsv_to_rgb(place * 0.618034 % 1, 0.55 + 0.35 * (place % 2), 0.95)
    red, green, blue = (round(255 * c) for c in rgb)
    return red, green, blue
