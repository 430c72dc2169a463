# SPDX-License-Identifier: Apache-2.0
"""Class file: the YAML file that says which classes the ids in PNGs mean.

    divisor: 1000
    classes:
      - {id: 1, name: road, kind: stuff, color: [128, 64, 128]}
      - {id: 2, name: car, kind: thing}
    ignore: [255]

A pixel's id is class id * divisor + instance number: 1000 is road, 2001 the first car, 2002 the
second, 2000 a crowd of cars without instances. `divisor` may be missing (1000), and so may the
colours, which pictures show on request only; see `LabelSet.own_colors`. `ignore` lists further ids
of pixels without a label. 0 is one of them, unless a class has the id 0.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.inputs import require_file
from panoptic_ros.core.json_values import MAX_NUMBER
from panoptic_ros.core.labels import VOID_ID, Label, LabelSet, as_color
from panoptic_ros.core.palette import distinct_color
from panoptic_ros.core.text import short

logger = logging.getLogger(__name__)

DEFAULT_DIVISOR = 1000

MAX_PIXEL_ID = 0xFFFFFF
"""Largest id that a PNG of 24 bits holds."""

MAX_BYTES = 1024 * VOID_ID
"""Maximum size of a class file: 1 kB for each class that a label set may have."""

KINDS = ('thing', 'stuff')

KEYS = ('divisor', 'classes', 'ignore')

CLASS_KEYS = {'id', 'name', 'kind', 'color'}


@dataclass(frozen=True)
class ClassFile:
    """Content of a class file."""

    labels: LabelSet
    """The classes in the file's order."""

    ids: tuple[int, ...]
    """The id of each class in pixels; its `category_id` too, except in files of the old form."""

    divisor: int

    ignore: frozenset[int] = frozenset()
    """Ids of pixels without a label."""

    void_id: int = VOID_ID
    """The first id that the file lists under `ignore`, else 255."""

    colors: tuple[tuple[int, int, int] | None, ...] = ()
    """RGB of each class, None if the file gives none."""

    @cached_property
    def class_id_of(self) -> npt.NDArray[np.int16]:
        """(N,) class id of each id in the file: VOID_ID for 255, unless a class has it; else -1.

        The last entry is -1 and serves all larger ids.
        """
        class_ids = {
            VOID_ID: VOID_ID,
            **{
                pixel_id: class_id
                for class_id, pixel_id in enumerate(self.ids)
                if pixel_id <= MAX_PIXEL_ID // self.divisor
            },
        }
        table = np.full(max(class_ids) + 2, -1, np.int16)
        table[list(class_ids)] = list(class_ids.values())
        return table


def read_class_file(path: Path) -> ClassFile:
    """Read a class file.

    The form of earlier versions is read too, with a warning: a list of classes with name, is_thing
    and color, whose ids are their places, or `labels` with such a list and `label_divisor`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is too large or not YAML, or a missing or invalid value.
    """
    require_file(path, 'a class file')
    content = read_yaml(path, MAX_BYTES)
    try:
        if isinstance(content, list) or (isinstance(content, Mapping) and 'labels' in content):
            classes = _from_old_form(content)
            logger.warning(
                '%s has the form of an earlier version; write `divisor` and `classes` with id, '
                'name, kind and color, as `panoptic list classes --yaml` prints them',
                path,
            )
            return classes
        return _from_document(content)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def format_class_file(labels: LabelSet, divisor: int = DEFAULT_DIVISOR) -> str:
    """Return a class file of a label set whose ids are the class ids 0, 1, ...

    >>> print(format_class_file(LabelSet((Label('road', False, (128, 64, 128), 7),))), end='')
    divisor: 1000
    classes:
      - {id: 0, name: road, kind: stuff, color: [128, 64, 128]}
    """
    lines = [f'divisor: {divisor}', 'classes:']
    for class_id, label in enumerate(labels.labels):
        entry = {
            'id': class_id,
            'name': label.name,
            'kind': 'thing' if label.is_thing else 'stuff',
            'color': list(label.color),
        }
        line = yaml.safe_dump(
            entry, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
        )
        lines.append(f'  - {line.strip()}')
    return '\n'.join([*lines, ''])


def check_divisor(divisor: object, what: str) -> None:
    """Raise ValueError unless a divisor is a whole number from 1 to the largest pixel id."""
    if type(divisor) is not int or not 1 <= divisor <= MAX_PIXEL_ID:
        raise ValueError(
            f'{what} must be a whole number over 0, at most {MAX_PIXEL_ID}, got {short(divisor)}'
        )


def _from_document(content: Any) -> ClassFile:
    entries = content.get('classes') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError('it needs a list `classes` of {id: 1, name: road, kind: stuff}')
    if len(entries) > VOID_ID:
        raise ValueError(f'it lists {len(entries)} classes, expected at most {VOID_ID}')
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise ValueError(f'unknown key {unknown[0]!r}; the keys are: {", ".join(KEYS)}')
    divisor = content.get('divisor', DEFAULT_DIVISOR)
    check_divisor(divisor, 'divisor')
    ignore = content.get('ignore', [])
    ignore = ignore if isinstance(ignore, list) else [ignore]
    if not all(type(value) is int and 0 <= value <= MAX_NUMBER for value in ignore):
        raise ValueError(f'ignore must list values of pixels, as [255], got {short(ignore)}')
    labels = LabelSet(tuple(_label(entry, index) for index, entry in enumerate(entries)))
    ids = tuple(labels.class_id_of_category)
    twice = sorted({*ids, *(i * divisor for i in ids)} & set(ignore))
    if twice:
        raise ValueError(f'{twice[0]} is listed under `ignore`, and is the id of a class')
    colors = tuple(
        label.color if 'color' in entry else None
        for label, entry in zip(labels.labels, entries, strict=True)
    )
    void_id = ignore[0] if ignore else VOID_ID
    return ClassFile(labels, ids, divisor, frozenset(ignore) | ({0} - set(ids)), void_id, colors)


def _from_old_form(content: Any) -> ClassFile:
    divisor, entries = DEFAULT_DIVISOR, content
    if isinstance(content, Mapping):
        divisor, entries = content.get('label_divisor', divisor), content['labels']
    check_divisor(divisor, 'label_divisor')
    if not isinstance(entries, list):
        raise ValueError('labels must be a list of classes with name, is_thing and color')
    labels = LabelSet.from_dicts(entries)
    colors = tuple(label.color for label in labels.labels)
    return ClassFile(labels, tuple(range(len(labels))), divisor, colors=colors)


def _label(entry: Any, index: int) -> Label:
    if not isinstance(entry, dict) or not CLASS_KEYS - {'color'} <= set(entry) <= CLASS_KEYS:
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
    color = as_color(entry.get('color', distinct_color(index)), what)
    return Label(entry['name'], entry['kind'] == 'thing', color, entry['id'])
