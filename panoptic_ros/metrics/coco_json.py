# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON files of unknown origin: each value is checked before it is used.

What is wrong is told in one line: the file, the place in it, what was expected and what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from panoptic_ros.core import documents
from panoptic_ros.core.labels import Label, LabelSet, as_bool

T = TypeVar('T')
Item = Mapping[str, Any]

MAX_NUMBER = 2**31 - 1
"""Largest category id, and largest size of an image in px."""

MAX_SEGMENT_ID = 2**24 - 1
"""Largest segment id: three bytes of a pixel."""


MAX_TEXT = 1000
"""Most characters of a name or a path."""

NO_TEXT = re.compile('[\x00-\x1f\x7f\ud800-\udfff]')
"""Control characters, and halves of characters, which no file name can hold."""


@dataclass(frozen=True)
class Annotation:
    """The segments of one image."""

    image_id: int | str
    path: Path
    """PNG of segment ids."""
    category_of: dict[int, int]
    """Category id by segment id."""
    crowd: frozenset[int]
    """Ids of the segments that are crowds."""


@dataclass(frozen=True)
class ListedImage:
    """An entry of `images`."""

    image_id: int | str
    file_name: str
    """Path in the folder of the images, with forward slashes."""
    size: tuple[int, int] | None
    """(height, width), px; None where the file does not say."""


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object with a list `annotations`.

    Raises:
        FileNotFoundError, ValueError: in one line with the path.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is a folder, expected a JSON file' if path.is_dir() else f'no file {path}'
        )
    value = documents.read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get('annotations'), list):
        raise ValueError(
            f'{path} is not in a COCO format: expected an object with a list `annotations`'
        )
    return value


def read_labels(document: Item, path: Path) -> LabelSet:
    """The label set in a COCO panoptic JSON's `categories`, in their order.

    Raises:
        ValueError: if there is none, or a value is not what it should be.
    """
    if not document.get('categories'):
        raise ValueError(f'{path} lists no categories')
    labels = each(
        document['categories'],
        f'{path}: categories',
        lambda entry: Label(
            text(entry, 'name').strip(), flag(entry, 'isthing'), _color(entry), number(entry, 'id')
        ),
    )
    try:
        return LabelSet(tuple(labels))
    except ValueError as error:
        raise ValueError(f'{path}: categories: {error}') from None


def read_images(document: Item, path: Path) -> dict[int | str, ListedImage]:
    """The entries of `images` by their id, in the file's order.

    Raises:
        ValueError: if a value is not what it should be, or an id or a file stands twice.
    """
    images: dict[int | str, ListedImage] = {}
    id_of: dict[str, int | str] = {}
    for image in each(document.get('images'), f'{path}: images', _image):
        other = images.setdefault(image.image_id, image)
        if other is not image:
            raise ValueError(
                f'{path}: {other.file_name} and {image.file_name} have the same '
                f'image id {image.image_id}; give each image its own'
            )
        first = id_of.setdefault(image.file_name, image.image_id)
        if first != image.image_id:
            raise ValueError(
                f'{path}: {image.file_name} is listed as image {first} and as image '
                f'{image.image_id}'
            )
    return images


def read_annotations(
    document: Item, path: Path, folder: Path, labels: LabelSet
) -> dict[int | str, Annotation]:
    """The annotations of a COCO panoptic JSON by image id.

    Args:
        document: the parsed file.
        path: where it came from, for messages.
        folder: where its PNGs are.
        labels: the categories that may occur.

    Raises:
        ValueError: naming the file, image and segment, at the first fault.
    """

    def parse(entry: Item) -> tuple[Annotation, int]:
        segments = each(
            entry.get('segments_info'),
            'segments_info',
            lambda segment: (
                number(segment, 'id', 1, MAX_SEGMENT_ID),
                number(segment, 'category_id'),
                flag(segment, 'iscrowd', False),
            ),
        )
        return Annotation(
            identity(entry, 'image_id'),
            Path(folder) / file_name(entry),
            {i: category for i, category, _ in segments},
            frozenset(i for i, _, crowd in segments if crowd),
        ), len(segments)

    annotations: dict[int | str, Annotation] = {}
    for annotation, count in each(document.get('annotations'), f'{path}: annotations', parse):
        where = f'{path}: image {annotation.image_id}'
        if annotation.image_id in annotations:
            raise ValueError(f'{where} is annotated twice')
        if len(annotation.category_of) < count:
            raise ValueError(f'{where}: segment ids must differ')
        for segment, category in annotation.category_of.items():
            if category not in labels.class_id_of_category:
                raise ValueError(f'{where}: segment {segment} has unknown category_id {category}')
        annotations[annotation.image_id] = annotation
    return annotations


def each(values: object, what: str, parse: Callable[[Item], T]) -> list[T]:
    """What `parse` makes of each object in a list.

    Args:
        values: should be a list of objects.
        what: the list is, for messages.
        parse: of one object; raises ValueError where it is wrong.

    Raises:
        ValueError: naming the place in the list.
    """
    if not isinstance(values, list):
        raise ValueError(f'{what} must be a list, got {short(values)}')
    found = []
    for i, value in enumerate(values):
        try:
            if not isinstance(value, dict):
                raise ValueError(f'expected an object, got {short(value)}')
            found.append(parse(value))
        except ValueError as error:  # noqa: PERF203
            raise ValueError(f'{what}[{i}]: {error}') from None
    return found


def number(entry: Item, key: str, low: int = 0, high: int = MAX_NUMBER) -> int:
    """A whole number from `low` to `high`; 3.0 and the text 3 are 3.

    Raises:
        ValueError: if it is missing or anything else.
    """
    value = _present(entry, key)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        whole = None
    elif isinstance(value, str):
        whole = int(value) if re.fullmatch(r'[0-9]{1,10}', value) else None
    else:
        whole = int(value) if value == value // 1 and abs(value) < 2**53 else None
    if whole is None or not low <= whole <= high:
        raise ValueError(f'{key} must be a whole number from {low} to {high}, got {short(value)}')
    return whole


def identity(entry: Item, key: str) -> int | str:
    """An image's id: a whole number or a text; the text 3 is 3, as some tools write both.

    Raises:
        ValueError: if it is missing or anything else.
    """
    value = _present(entry, key)
    if isinstance(value, str):
        return int(value) if re.fullmatch('0|[1-9][0-9]{0,14}', value) else text(entry, key)
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < 2**53
        and value == value // 1
    ):
        return int(value)
    raise ValueError(f'{key} must be a whole number or a text, got {short(value)}')


def flag(entry: Item, key: str, default: bool | None = None) -> bool:
    """True or false, 0 or 1, as such or as text.

    Args:
        entry: an object of the file.
        key: of the value.
        default: where the value is missing or null; None for a value that must be there.

    Raises:
        ValueError: if it is anything else.
    """
    if default is not None and entry.get(key) is None:
        return default
    return as_bool(_present(entry, key), key)


def text(entry: Item, key: str) -> str:
    """A text that is not blank.

    Raises:
        ValueError: if it is missing, of another type, too long or holds control characters.
    """
    value = _present(entry, key)
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > MAX_TEXT
        or NO_TEXT.search(value)
    ):
        raise ValueError(
            f'{key} must be a text of up to {MAX_TEXT} characters without control '
            f'characters, got {short(value)}'
        )
    return value


def file_name(entry: Item) -> str:
    """A path inside the folder of the files, with forward slashes.

    Raises:
        ValueError: if it is missing or leads out of the folder.
    """
    value = text(entry, 'file_name').replace('\\', '/')
    path = PurePosixPath(value)
    if path.is_absolute() or re.match('[A-Za-z]:/', value) or '..' in path.parts or not path.name:
        raise ValueError(
            f'file_name must be a path inside the folder of the files, got {short(value)}'
        )
    return str(path)


def short(value: object) -> str:
    """A value for a message; long ones are cut."""
    try:
        words = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        words = f'a {type(value).__name__}'
    return words if len(words) <= 60 else f'{words[:57]}...'


def _image(entry: Item) -> ListedImage:
    known = all(entry.get(key) not in (None, 0) for key in ('height', 'width'))
    return ListedImage(
        identity(entry, 'id'),
        file_name(entry),
        (number(entry, 'height', 1), number(entry, 'width', 1)) if known else None,
    )


def _color(entry: Item) -> tuple[int, int, int]:
    color = entry.get('color')
    if color is None:
        return 0, 0, 0
    if not isinstance(color, list) or len(color) != 3:
        raise ValueError(f'color must be [red, green, blue], got {short(color)}')
    red, green, blue = (number({'color': value}, 'color', 0, 255) for value in color)
    return red, green, blue


def _present(entry: Item, key: str) -> Any:
    value = entry.get(key)
    if value is None:
        raise ValueError(f'`{key}` is missing')
    return value
