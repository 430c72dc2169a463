# SPDX-License-Identifier: Apache-2.0
"""Files in the COCO panoptic format.

A JSON file has one annotation per image. Each annotation names a PNG whose pixels hold segment
ids (see `id_png`, 0 = void), and lists the segments with their categories. The files may be of
unknown origin: every value is checked before it is used, and an error names the file, the place
in it, the expected value and the actual one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core import documents
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.id_png import read_png
from panoptic_ros.core.json_values import Item, each, file_name, flag, identity, number, text
from panoptic_ros.core.labels import UNKNOWN, Label, LabelSet
from panoptic_ros.core.text import short

MAX_SEGMENT_ID = 2**24 - 1
"""Largest segment id, which fills the three bytes of a pixel."""


@dataclass(frozen=True)
class Annotation:
    """Segments of one image."""

    image_id: int | str
    path: Path
    """PNG file of the segment ids."""
    category_of: dict[int, int]
    """Category id by segment id."""
    crowd: frozenset[int]
    """Ids of the segments that are crowds."""
    void: frozenset[int] = frozenset()
    """Ids of the segments that count as void: a model has withheld their class."""


@dataclass(frozen=True)
class ListedImage:
    """Entry of the list `images`."""

    image_id: int | str
    file_name: str
    """Path below the folder of the images, with forward slashes."""
    size: tuple[int, int] | None
    """(height, width), px; None if the file does not give it."""


def read_json(path: Path, needed: str = 'annotations') -> dict[str, Any]:
    """Read a JSON object with a list `annotations`, or the list that is `needed`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON or has no such list.
    """
    path = Path(path)
    value = documents.read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get(needed), list):
        raise ValueError(
            f'{path} is not in a COCO format: expected an object with a list `{needed}`'
        )
    return value


def read_labels(document: Item, path: Path) -> LabelSet:
    """Return the label set of a document's `categories`, in their order.

    Args:
        document: the parsed file.
        path: its path, for error messages.

    Raises:
        ValueError: if there are no categories, or a value is missing or invalid.
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
    """Return the entries of `images` by their id, in the file's order.

    Args:
        document: the parsed file.
        path: its path, for error messages.

    Raises:
        ValueError: if a value is missing or invalid, or an id or a file name occurs twice.
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
    """Return the annotations of a document by image id.

    Args:
        document: the parsed file.
        path: its path, for error messages.
        folder: folder of its PNGs.
        labels: the categories that may occur. Segments of another category that the document
            itself names `unknown` are void.

    Raises:
        ValueError: if a value is missing or invalid, or an image, segment or category does not
            fit; the message names the file, image and segment.
    """
    withheld = _withheld(document) - set(labels.class_id_of_category)

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
            {i: category for i, category, _ in segments if category not in withheld},
            frozenset(i for i, _, crowd in segments if crowd),
            frozenset(i for i, category, _ in segments if category in withheld),
        ), len(segments)

    annotations: dict[int | str, Annotation] = {}
    for annotation, count in each(document.get('annotations'), f'{path}: annotations', parse):
        where = f'{path}: image {annotation.image_id}'
        if annotation.image_id in annotations:
            raise ValueError(f'{where} is annotated twice')
        if len(annotation.category_of) + len(annotation.void) < count:
            raise ValueError(f'{where}: segment ids must differ')
        for segment, category in annotation.category_of.items():
            if category not in labels.class_id_of_category:
                raise ValueError(f'{where}: segment {segment} has unknown category_id {category}')
        annotations[annotation.image_id] = annotation
    return annotations


def _withheld(document: Item) -> set[int]:
    """Return the ids of categories with the name of withheld classes."""
    entries = document.get('categories')
    return {
        entry['id']
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
        and entry.get('name') == UNKNOWN
        and isinstance(entry.get('id'), int)
    }


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


def read_ids(annotation: Annotation) -> npt.NDArray[np.uint32]:
    """Read the PNG of an annotation and compare its ids with the listed segments.

    Returns:
        (H, W) segment id, 0 for void.

    Raises:
        FileNotFoundError: if the PNG does not exist.
        ValueError: if it is not an 8-bit RGB image, or its ids are not those listed.
    """
    where = f'image {annotation.image_id}: {annotation.path}'
    ids = read_png(annotation.path, where)
    starts = np.flatnonzero(np.diff(ids.reshape(-1), prepend=0) != 0)
    drawn = set(np.unique(ids.reshape(-1)[starts]).tolist()) - {0}
    listed = annotation.void.union(annotation.category_of)
    if drawn != listed:
        fault, ids_at_fault = (
            ('in the PNG and not in the JSON', drawn - listed)
            if drawn - listed
            else ('in the JSON and not in the PNG', listed - drawn)
        )
        raise ValueError(
            f'{where}: segment {min(ids_at_fault)} is {fault} ({len(ids_at_fault)} such)'
        )
    if annotation.void:
        ids[np.isin(ids, list(annotation.void))] = 0
    return ids


def categories(labels: LabelSet) -> list[dict[str, Any]]:
    """Return a label set as a list `categories`; `read_labels` reads it back."""
    return [
        {
            'id': label.category_id,
            'name': label.name,
            'isthing': int(label.is_thing),
            'color': list(label.color),
        }
        for label in labels.labels
    ]


def segments_info(frame: PanopticFrame, labels: LabelSet) -> list[dict[str, Any]]:
    """Return the segments of a frame of `at_camera` as a list `segments_info`.

    Beside the keys of the format, a segment has its `score`, and its `track_id` if it is tracked.
    """
    return [
        {
            'id': int(row['segment_id']),
            'category_id': labels.labels[row['class_id']].category_id,
            'iscrowd': 0,
            'area': int(row['area']),
            'bbox': [int(row[name]) for name in ('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h')],
            'score': float(row['score']),
            **({'track_id': int(row['track_id'])} if row['track_id'] else {}),
        }
        for row in frame.segments
    ]


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return a mask (H, W) in COCO's run-length encoding, which is not compressed.

    `counts` are the lengths of runs down the columns, alternately outside and inside the mask.

    >>> run_lengths(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': [1, 3]}
    """
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff(edges, prepend=0, append=pixels.size)
    return {'size': list(mask.shape), 'counts': counts.tolist()}
