# SPDX-License-Identifier: Apache-2.0
"""Classes of checkpoints: their names, and which of them are things."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.json_values import flag, number
from panoptic_ros.core.labels import Label, LabelSet, find_name
from panoptic_ros.core.palette import distinct_color
from panoptic_training.data import ade20k_classes, cityscapes, coco_classes

from .processor import read_settings

LOGGER = logging.getLogger(__name__)

KNOWN = {
    len(labels): labels
    for labels in (cityscapes.LABELS, coco_classes.LABELS, ade20k_classes.LABELS)
}
"""Classes of Cityscapes, COCO panoptic and ADE20K, by their number."""

SAME_NAMES = 0.75
"""Part of the names that must agree, class by class, with those of a known data set.

Checkpoints of ADE20K use several names for some of its classes.
"""

COCO_IDS = {91, 250}
"""Numbers of classes of checkpoints whose classes are COCO's category ids.

RF-DETR has those of things, DETR those of COCO panoptic.
"""

NAMELESS = re.compile(r'label_\d+|n/a|')
"""Names of classes that a checkpoint does not name, in lower case."""


def class_names(source: str, id2label: Mapping[int, Any], count: int) -> dict[int, str]:
    """Return the names by class id, in lower case; classes that have no name are left out.

    A checkpoint whose class ids are COCO's has classes that are no categories.

    Raises:
        ValueError: if an id in 0 to `count` - 1 is missing, or no class has a name.
    """
    if absent := [i for i in range(count) if i not in id2label]:
        raise ValueError(
            f'{source}: id2label has no name for class {absent[0]}; it has '
            f'{len(id2label)} names with ids {min(id2label)} to {max(id2label)}, '
            f'expected 0 to {count - 1}: give the names with `panoptic export --classes FILE`'
        )
    names = {i: str(id2label[i] or '').lower().strip() for i in range(count)}
    named = {i: name for i, name in names.items() if not NAMELESS.fullmatch(name)}
    if count in COCO_IDS:
        coco = {x.category_id: x.name for x in coco_classes.LABELS.labels if x.category_id < count}
        if all(coco.get(i) == name for i, name in named.items() if i in coco):
            return coco
    if len(names) > len(named) > 0:
        unnamed = [i for i in names if i not in named]
        LOGGER.warning(
            'warning: %d classes have no name and become void: %s',
            len(unnamed),
            ', '.join(map(str, unnamed)),
        )
    return named or names


def labels_in_order(path: Path, count: int) -> LabelSet:
    """Return the classes of a class file whose ids are those of a checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for an invalid file, or ids other than 0, 1, ...
    """
    labels = sorted(read_class_file(path).labels.labels, key=lambda label: label.category_id)
    ids = [label.category_id for label in labels]
    if ids != list(range(count)):
        raise ValueError(
            f"{path}: the ids must be those of the checkpoint's classes, 0 to "
            f'{count - 1}, got {len(ids)} from {ids[0]} to {ids[-1]}'
        )
    return LabelSet(tuple(labels))


def label_set_of_names(names: Sequence[str], things: Iterable[str]) -> LabelSet:
    """Return labels with distinct colours.

    Args:
        names: by class id; a repeated name gets its class id as a suffix.
        things: names of the classes that are things.

    Raises:
        ValueError: for a thing that is not among the names.
    """
    known = list(dict.fromkeys(names))
    things = {known[find_name(thing, known)] for thing in things}
    labels = []
    for i, name in enumerate(names):
        unique = name if names.index(name) == i else f'{name} {i}'
        shown = re.sub(r'\s+', ' ', unique).strip()
        labels.append(Label(shown, name in things, distinct_color(i), i))
    return LabelSet(tuple(labels))


def things_of(source: str, processor: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Return the things from the processor's settings or class file (OneFormer), or known names.

    Checkpoints of ADE20K list several names per class, separated by commas; the first is used.

    Raises:
        ValueError: if no source names the things, or it belongs to other classes.
    """
    metadata = processor.get('metadata')
    things = metadata.get('thing_ids') if isinstance(metadata, dict) else None
    if things is None:
        file = processor.get('class_info_file')
        info = read_settings(
            source, Path(file).name if isinstance(file, str) else 'class_info.json'
        )
        things = (
            [
                i
                for i, value in info.items()
                if isinstance(value, dict) and flag(value, 'isthing', False)
            ]
            if info
            else None
        )
    if isinstance(things, list):
        try:
            ids = [number({'id': i}, 'id', 0, len(names) - 1) for i in things]
        except ValueError as error:
            raise ValueError(
                f"a thing's {error}; name the things with `panoptic export --things`"
            ) from None
        return [names[i] for i in ids]
    if known := KNOWN.get(len(names)):
        first = [name.split(',')[0].strip() for name in names]
        of_things = {label.name for label in known.labels if label.is_thing}
        if of_things <= set(first):
            return [name for name, short in zip(names, first, strict=True) if short in of_things]
        if np.mean([a == b for a, b in zip(first, known.names, strict=True)]) >= SAME_NAMES:
            return [name for name, thing in zip(names, known.is_thing, strict=True) if thing]
    nameless = all(NAMELESS.fullmatch(name) for name in names)
    remedy = (
        ', and does not name them: give names and kinds with `panoptic export --classes FILE`'
        if nameless
        else f'; name them with `panoptic export --things`. The classes are: {", ".join(names)}'
    )
    raise ValueError(
        f'the checkpoint does not say which of its {len(names)} classes are things{remedy}'
    )
