# SPDX-License-Identifier: Apache-2.0
"""Ids of images from a JSON file in a COCO format, which scores need."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from panoptic_ros.core.coco_format import read_images
from panoptic_ros.core.documents import read_json

ImageId = int | str


def read_image_ids(path: Path, names: Sequence[str]) -> dict[str, ImageId]:
    """Return the id of each image.

    Args:
        path: JSON file with a list `images`.
        names: of the images, with or without the folders that the file gives.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it has no valid list, or lacks an image.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get('images'), list):
        raise ValueError(f'{path} is not in a COCO format: expected a list `images`')
    listed = read_images(document, path).values()
    ids = {image.file_name: image.image_id for image in listed}
    bases = [PurePosixPath(name).name for name in ids]
    if len(set(bases)) == len(bases):
        ids = dict(zip(bases, ids.values(), strict=True)) | ids
    found = {name: ids.get(name, ids.get(PurePosixPath(name).name)) for name in names}
    missing = [name for name, image_id in found.items() if image_id is None]
    if missing:
        raise ValueError(f'{path} does not list {missing[0]} ({len(missing)} such)')
    return {name: image_id for name, image_id in found.items() if image_id is not None}
