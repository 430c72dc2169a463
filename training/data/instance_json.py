# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON files of instances: objects with one outline each, which may overlap."""

from pathlib import Path
from typing import NamedTuple

from panoptic_ros.core.json_values import Item, each, flag, identity, number, short

from .outlines import Outline, parse_outline


class Instance(NamedTuple):
    """One annotation."""

    name: str
    """Its id, for error messages."""
    image_id: int | str
    category_id: int
    crowd: bool
    outline: Outline | None
    """Mask of the object; None where only a box is given."""


def read_instance_annotations(document: Item, path: Path) -> dict[int | str, list[Instance]]:
    """Return the annotations of each annotated image, in the file's order.

    Args:
        document: the parsed file.
        path: the file, for error messages.

    Raises:
        ValueError: naming the place of the first missing or invalid value.
    """
    of_image: dict[int | str, list[Instance]] = {}
    for instance in each(document.get('annotations'), f'{path}: annotations', _instance):
        of_image.setdefault(instance.image_id, []).append(instance)
    return of_image


def _instance(entry: Item) -> Instance:
    return Instance(
        f'annotation {short(entry.get("id"))}',
        identity(entry, 'image_id'),
        number(entry, 'category_id'),
        flag(entry, 'iscrowd', False),
        parse_outline(entry.get('segmentation')),
    )
