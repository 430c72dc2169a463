# SPDX-License-Identifier: Apache-2.0
"""Label sets, and the code that packs a class and an instance into one panoptic id."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

VOID_ID = 255
"""Class id of a pixel without a class; so a label set has at most 255 classes."""

VOID_PANOPTIC_ID = -1
"""Panoptic id of a void pixel, whatever the label divisor."""


@dataclass(frozen=True)
class Label:
    """One class: what people call it, how it is drawn, and its number in the data set."""

    name: str
    """Name, unique in its label set, e.g. `traffic sign`."""

    is_thing: bool
    """True where instances are counted (car), False for stuff (road)."""

    color: tuple[int, int, int]
    """RGB, 0 to 255."""

    category_id: int
    """The data set's own number for the class."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r'\S(.*\S)?', self.name):
            raise ValueError(f'a label needs a name without outer spaces, got {self.name!r}')
        if len(self.color) != 3 or not all(0 <= c <= 255 for c in self.color):
            raise ValueError(
                f'label {self.name!r}: color must be three numbers 0 to 255, got {self.color}'
            )


@dataclass(frozen=True)
class LabelSet:
    """The classes a model predicts; a label's place in `labels` is its `class_id`."""

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= VOID_ID:
            raise ValueError(f'a label set has 1 to {VOID_ID} classes, got {len(self.labels)}')
        for what in ('name', 'category_id'):
            counts = Counter(getattr(label, what) for label in self.labels)
            twice = [value for value, count in counts.items() if count > 1]
            if twice:
                raise ValueError(f'a label set needs each {what} once, got twice: {twice}')

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names by class id."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def is_thing(self) -> npt.NDArray[np.bool_]:
        """(C,) True for things."""
        return np.array([label.is_thing for label in self.labels], dtype=bool)

    @cached_property
    def colors(self) -> npt.NDArray[np.uint8]:
        """(256, 3) RGB by class id; void and unused ids are black."""
        colors = np.zeros((VOID_ID + 1, 3), np.uint8)
        colors[: len(self.labels)] = [label.color for label in self.labels]
        return colors

    @cached_property
    def class_id_of_category(self) -> Mapping[int, int]:
        """From the data set's category_id to the class id."""
        return {label.category_id: i for i, label in enumerate(self.labels)}

    def class_ids(self, names: Iterable[str]) -> tuple[int, ...]:
        """Class ids of some names, see `find_name`."""
        return tuple(find_name(name, self.names) for name in names)

    def to_dicts(self) -> list[dict[str, Any]]:
        """The set as plain values for JSON or YAML; `from_dicts` reads it back."""
        return [
            {
                'class_id': i,
                'name': label.name,
                'is_thing': label.is_thing,
                'color': list(label.color),
                'category_id': label.category_id,
            }
            for i, label in enumerate(self.labels)
        ]

    @classmethod
    def from_dicts(cls, dicts: Iterable[Mapping[str, Any]]) -> LabelSet:
        """Inverse of `to_dicts`; `class_id` may be missing, `category_id` defaults to it.

        Raises:
            ValueError: if an entry lacks a field, a value is of another type, or a class_id does
                not equal its place.
        """
        labels = []
        for i, entry in enumerate(dicts):
            if not isinstance(entry, Mapping):
                raise ValueError(
                    f'label {i} must have name, is_thing and color, got {str(entry)[:80]}'
                )
            missing = {'name', 'is_thing', 'color'} - set(entry)
            if missing:
                raise ValueError(f'label {i} lacks {", ".join(sorted(missing))}')
            if entry.get('class_id', i) != i:
                raise ValueError(
                    f'label {entry["name"]!r} has class_id {entry["class_id"]}, '
                    f'expected its place in the list, {i}'
                )
            try:
                red, green, blue = (int(c) for c in entry['color'])
                category_id = int(entry.get('category_id', i))
            except (TypeError, ValueError, OverflowError):
                raise ValueError(
                    f'label {entry["name"]!r}: color must be [red, green, blue] and category_id a '
                    f'whole number, got {entry["color"]!r} and {entry.get("category_id", i)!r}'
                ) from None
            labels.append(
                Label(
                    str(entry['name']),
                    as_bool(entry['is_thing'], f'label {entry["name"]!r}: is_thing'),
                    (red, green, blue),
                    category_id,
                )
            )
        return cls(tuple(labels))


def as_bool(value: Any, what: str) -> bool:
    """A yes or no from JSON or YAML: true, false, 0 or 1, or one of these as text.

    Args:
        value: any.
        what: it is, for the message.

    Raises:
        ValueError: if it is anything else; the text `false` would count as true in Python.
    """
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    known = {'true': True, '1': True, 'false': False, '0': False}
    text = value.strip().lower() if isinstance(value, str) else ''
    if text not in known:
        raise ValueError(f'{what} must be true or false, got {str(value)[:80]!r}')
    return known[text]


def find_name(name: str, names: Sequence[str]) -> int:
    """The place of a class's name; capitals count only where names differ in nothing else.

    Raises:
        ValueError: if it is none of the names, or could be several; the message lists them.
    """
    if name in names:
        return names.index(name)
    alike = [i for i, known in enumerate(names) if known.casefold() == name.casefold()]
    if len(alike) > 1:
        raise ValueError(
            f'class {name!r} could be any of {", ".join(names[i] for i in alike)}; '
            'write it with the same capitals'
        )
    if not alike:
        raise ValueError(f'unknown class {name!r}; the classes are: {", ".join(names)}')
    return alike[0]


def encode_panoptic(
    class_id: npt.ArrayLike, instance_id: npt.ArrayLike, label_divisor: int
) -> npt.NDArray[np.int64]:
    """Packs `class_id * label_divisor + instance_id`.

    Args:
        class_id: any shape; VOID_ID becomes VOID_PANOPTIC_ID.
        instance_id: same shape; 0 for stuff, 1 to label_divisor - 1 for things.
        label_divisor: more than the largest instance id.

    Raises:
        ValueError: if an instance id is negative or does not fit below the divisor.
    """
    class_id, instance_id = np.asarray(class_id, np.int64), np.asarray(instance_id, np.int64)
    if instance_id.size and not 0 <= instance_id.min() <= instance_id.max() < label_divisor:
        raise ValueError(
            f'instance ids must lie in 0 to {label_divisor - 1} '
            f'(label_divisor {label_divisor}), got {instance_id.min()} to '
            f'{instance_id.max()}'
        )
    return np.where(class_id == VOID_ID, VOID_PANOPTIC_ID, class_id * label_divisor + instance_id)


def decode_panoptic(
    panoptic_id: npt.ArrayLike, label_divisor: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Unpacks `encode_panoptic`: (class_id, instance_id); void gives (VOID_ID, 0)."""
    panoptic_id = np.asarray(panoptic_id, np.int64)
    void = panoptic_id == VOID_PANOPTIC_ID
    class_id, instance_id = np.divmod(panoptic_id, label_divisor)
    return np.where(void, VOID_ID, class_id), np.where(void, 0, instance_id)
