# SPDX-License-Identifier: Apache-2.0
"""Label sets, and panoptic ids that combine a class id and an instance id."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.text import short

VOID_ID = 255
"""Class id of a pixel without a class, so that a label set has at most 255 classes."""

UNKNOWN = 'unknown'
"""Name of the last class of a model file that withholds the class of unsure segments."""

UNKNOWN_COLOR = (128, 128, 128)

VOID_PANOPTIC_ID = -1
"""Panoptic id of a void pixel, independent of the label divisor."""


@dataclass(frozen=True)
class Label:
    """One class: name, kind, colour and the data set's number for it."""

    name: str
    """Name, unique in its label set, e.g. `traffic sign`."""

    is_thing: bool
    """True for classes with countable instances (car), False for stuff (road)."""

    color: tuple[int, int, int]
    """RGB, 0 to 255, of the data set or the class file; see `LabelSet.colors`."""

    category_id: int
    """Number of the class in the data set."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r'\S(.*\S)?', self.name):
            raise ValueError(f'a label needs a name without outer spaces, got {short(self.name)}')
        if len(self.color) != 3 or not all(0 <= c <= 255 for c in self.color):
            raise ValueError(
                f'label {self.name!r}: color must be three numbers 0 to 255, got {self.color}'
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain values for JSON or YAML."""
        return {
            'name': self.name,
            'is_thing': self.is_thing,
            'color': list(self.color),
            'category_id': self.category_id,
        }


@dataclass(frozen=True)
class LabelRemap:
    """Ids of another label space, with which classes are published; see `core.label_remap`."""

    ids: tuple[int | None, ...]
    """Published id by class id; None for a class that is not published."""

    colors: tuple[tuple[int, int, int] | None, ...]
    """RGB by class id, 0 to 255; None for the colour that the class has anyway."""

    void_id: int = VOID_ID
    """Published id of void, 0 to 255."""


@dataclass(frozen=True)
class LabelSet:
    """Classes that a model predicts; the index of a label is its class id.

    Example:
        >>> road = Label('road', is_thing=False, color=(128, 64, 128), category_id=7)
        >>> car = Label('car', is_thing=True, color=(0, 0, 142), category_id=26)
        >>> labels = LabelSet((road, car))
        >>> labels.names
        ('road', 'car')
        >>> labels.class_ids(['Car'])
        (1,)
        >>> labels.is_thing.tolist()
        [False, True]
    """

    labels: tuple[Label, ...]

    own_colors: bool = field(default=False, compare=False)
    """Whether pictures have the labels' own colours, which may be hard to tell apart."""

    remap: LabelRemap | None = field(default=None, compare=False)
    """Ids and colours to publish in place of these; None publishes the class ids."""

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
        """(C,) True for thing classes."""
        return np.array([label.is_thing for label in self.labels], dtype=bool)

    @cached_property
    def colors(self) -> npt.NDArray[np.uint8]:
        """(256, 3) RGB by class id in pictures; void and unused ids are black.

        They are easy to tell apart (`palette`), or the labels' own if `own_colors` is set.
        """
        colors = np.zeros((VOID_ID + 1, 3), np.uint8)
        from panoptic_ros.core.palette import distinct_colors  # which needs OpenCV and SciPy

        own = [label.color for label in self.labels]
        colors[: len(own)] = own if self.own_colors else distinct_colors(own)
        return colors

    def as_drawn(self) -> 'LabelSet':
        """Return the set with the colours of pictures as the labels' own."""
        colors = self.colors[: len(self.labels)].tolist()
        return LabelSet(
            tuple(
                replace(label, color=tuple(color))
                for label, color in zip(self.labels, colors, strict=True)
            ),
            own_colors=True,
        )

    @cached_property
    def published(self) -> Mapping[int, Label]:
        """Labels by published id, in order of the ids, with the colours of pictures."""
        drawn = self.as_drawn().labels
        if self.remap is None:
            return dict(enumerate(drawn))
        return dict(
            sorted(
                (published_id, replace(label, color=color or label.color))
                for published_id, color, label in zip(
                    self.remap.ids, self.remap.colors, drawn, strict=True
                )
                if published_id is not None
            )
        )

    @cached_property
    def by_published_id(self) -> 'LabelSet':
        """The set whose class ids are the published ids, with the colours of pictures.

        Ids that no class has get labels that nothing refers to.
        """
        if self.remap is None:
            return self
        return LabelSet(
            tuple(
                self.published.get(i, Label(f'(no class {i})', False, (0, 0, 0), -1 - i))
                for i in range(max(self.published) + 1)
            ),
            own_colors=True,
        )

    @cached_property
    def class_id_of_category(self) -> Mapping[int, int]:
        """Class id by the data set's category id."""
        return {label.category_id: i for i, label in enumerate(self.labels)}

    def class_ids(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return the class ids of some names; see `find_name`."""
        return tuple(find_name(name, self.names) for name in names)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the set as plain values for JSON or YAML; see `from_dicts`."""
        return [{'class_id': i, **label.to_dict()} for i, label in enumerate(self.labels)]

    @classmethod
    def from_dicts(cls, dicts: Iterable[Mapping[str, Any]]) -> 'LabelSet':
        """Make a label set of the values that `to_dicts` returns.

        Args:
            dicts: one mapping per class. `class_id` may be missing; `category_id` defaults to it.

        Raises:
            ValueError: if an entry lacks a field, a value has the wrong type, or a class_id is
                not the entry's index.
        """
        labels = []
        for i, entry in enumerate(dicts):
            if not isinstance(entry, Mapping):
                raise ValueError(
                    f'label {i} must have name, is_thing and color, got {short(entry)}'
                )
            missing = {'name', 'is_thing', 'color'} - set(entry)
            if missing:
                raise ValueError(f'label {i} lacks {", ".join(sorted(missing))}')
            name, category_id = entry['name'], entry.get('category_id', i)
            what = f'label {short(name)}'
            if not isinstance(name, str):
                raise ValueError(f'{what}: the name must be a text; put it in quotes')
            if entry.get('class_id', i) != i:
                raise ValueError(
                    f'{what} has class_id {short(entry["class_id"])}, expected its index in the '
                    f'list, {i}'
                )
            if type(category_id) is not int:
                raise ValueError(
                    f'{what}: category_id must be a whole number, got {short(category_id)}'
                )
            is_thing = as_bool(entry['is_thing'], f'{what}: is_thing')
            labels.append(Label(name, is_thing, as_color(entry['color'], what), category_id))
        return cls(tuple(labels))


def as_bool(value: Any, what: str) -> bool:
    """Convert a value from JSON or YAML to a boolean.

    Args:
        value: true, false, 0 or 1, or one of these as text.
        what: name of the value in the error message.

    Raises:
        ValueError: if the value is anything else. Python's `bool` would convert the text `false`
            to True.
    """
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    known = {'true': True, '1': True, 'false': False, '0': False}
    text = value.strip().lower() if isinstance(value, str) else ''
    if text not in known:
        raise ValueError(f'{what} must be true or false, got {short(value)}')
    return known[text]


def as_color(value: Any, what: str) -> tuple[int, int, int]:
    """Return a colour from JSON or YAML, a list of three whole numbers.

    Args:
        value: [red, green, blue].
        what: name of the class in the error message.

    Raises:
        ValueError: if the value is anything else; `Label` checks the range.
    """
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 3
        or not all(type(part) is int for part in value)
    ):
        raise ValueError(
            f'{what}: color must be [red, green, blue] in whole numbers, got {short(value)}'
        )
    red, green, blue = value
    return red, green, blue


def find_name(name: str, names: Sequence[str]) -> int:
    """Return the index of a class name; case matters only between names that differ by case.

    Raises:
        ValueError: if the name is unknown, or matches several names; the message lists them.
    """
    if name in names:
        return names.index(name)
    alike = [i for i, known in enumerate(names) if known.casefold() == name.casefold()]
    if len(alike) > 1:
        raise ValueError(
            f'class {name!r} is ambiguous: {", ".join(names[i] for i in alike)}; '
            'write it in the same case'
        )
    if not alike:
        raise ValueError(f'unknown class {name!r}; the classes are: {", ".join(names)}')
    return alike[0]


def encode_panoptic(
    class_id: npt.ArrayLike, instance_id: npt.ArrayLike, label_divisor: int
) -> npt.NDArray[np.int64]:
    """Return panoptic ids, `class_id * label_divisor + instance_id`.

    Args:
        class_id: any shape; VOID_ID becomes VOID_PANOPTIC_ID.
        instance_id: same shape; 0 for stuff, 1 to label_divisor - 1 for things.
        label_divisor: larger than any instance id.

    Raises:
        ValueError: if an instance id is negative, or not smaller than the divisor.
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
    """Return the class ids and instance ids of panoptic ids; void is (VOID_ID, 0).

    Args:
        panoptic_id: from `encode_panoptic`, any shape.
        label_divisor: the divisor that they were made with.
    """
    panoptic_id = np.asarray(panoptic_id, np.int64)
    void = panoptic_id == VOID_PANOPTIC_ID
    class_id, instance_id = np.divmod(panoptic_id, label_divisor)
    return np.where(void, VOID_ID, class_id), np.where(void, 0, instance_id)
