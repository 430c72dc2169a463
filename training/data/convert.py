# SPDX-License-Identifier: Apache-2.0
"""Conversion of labelled images to COCO's panoptic format, as `coco:<folder>` reads it."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from panoptic_ros.core.coco_format import categories
from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import lock_folder, write_json
from panoptic_ros.core.id_png import write_png
from panoptic_ros.core.labels import VOID_ID, LabelSet

from .files import FileReader, Maps, image_orientation, inner_paths, read_rgb, thing_table
from .skipping import listing

PARTIAL = '.partial'
"""Folder of incomplete files, in the folder of the data set."""

JOURNAL = 'moving.json'
"""File in it that lists the names that are being moved to their final place."""


def divide(names: Sequence[str], val_share: float) -> dict[str, list[int]]:
    """Divide images into train and val by their names, so that the result is reproducible.

    Args:
        names: of the files, unique.
        val_share: share of val, 0 to 1; between these, each split gets at least one image.

    Returns:
        indices by split, without splits that have no images.

    Raises:
        ValueError: for a share outside 0 to 1.
    """
    if not 0 <= val_share <= 1:
        raise ValueError(f'--val-share must lie in 0 to 1, got {val_share}')
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).hexdigest())
    count = round(len(names) * val_share)
    if 0 < val_share < 1 and len(names) > 1:
        count = min(max(count, 1), len(names) - 1)
    splits = {'train': sorted(order[count:]), 'val': sorted(order[:count])}
    return {split: indices for split, indices in splits.items() if indices}


class Part(NamedTuple):
    """Images that become one split."""

    reader: FileReader
    indices: Sequence[int]


def check_targets(out: Path, splits: Iterable[str], overwrite: bool = False) -> None:
    """Check whether splits may be written to a folder.

    Raises:
        FileExistsError: if a split exists and `overwrite` is False, or if a folder that was not
            written by a conversion has its name.
    """
    for split in splits:
        names = names_of(split)
        there = [out / name for name in names if (out / name).exists()]
        if there and not (out / names[0]).is_file():
            raise FileExistsError(
                f'{there[0]} exists and belongs to no data set, as {names[0]} '
                'is missing; give another folder or remove it'
            )
        if there and not overwrite:
            raise FileExistsError(
                f'{there[0]} exists already; give another folder, or --overwrite to replace it'
            )


def write_data(parts: Mapping[str, Part], out: Path, overwrite: bool = False) -> Iterator[str]:
    """Write splits of a data set; they appear in the folder once all of them are complete.

    A conversion may be killed at any time: the next one starts from a clean state.

    Args:
        parts: by split, `train` or `val`.
        out: folder of the new data set; locked, so that one process writes to it.
        overwrite: replace existing splits.

    Yields:
        the name of each image after it was written.

    Raises:
        FolderInUseError: if another process writes to the folder.
        FileExistsError: see `check_targets`.
        ValueError, OSError: for a file that cannot be read or written.
    """
    partial = out / PARTIAL
    with lock_folder(out, 'conversion'):
        try:
            _undo(out)  # moves of a killed process
            check_targets(out, parts, overwrite)
            for split, part in parts.items():
                yield from _write_split(part, partial / 'new', split)
            _move(out, [name for split in parts for name in names_of(split)])
        finally:
            _undo(out)


def _write_split(part: Part, folder: Path, split: str) -> Iterator[str]:
    reader, indices = part
    json_path, masks, images = (folder / name for name in names_of(split))
    names = unique_names(reader, indices)
    for path in (masks, images):
        path.mkdir(parents=True)
    listed, annotations = [], []
    for number, (index, name) in enumerate(zip(indices, names, strict=True), 1):
        ids, segments = segments_of(reader.read_labels(index), reader.labels)
        png = f'{Path(name).stem}.png'
        write_png(ids, masks / png)
        _write_image(reader.pairs[index].image, images / name, reader.exif)
        listed.append(
            {'id': number, 'file_name': name, 'height': ids.shape[0], 'width': ids.shape[1]}
        )
        annotations.append({'image_id': number, 'file_name': png, 'segments_info': segments})
        yield name
    write_json(
        {'images': listed, 'annotations': annotations, 'categories': categories(reader.labels)},
        json_path,
        indent=None,
    )


def _write_image(path: Path, target: Path, exif: str) -> None:
    """Copy a photo; one with an EXIF orientation is encoded again without it."""
    pixels = read_rgb(path, exif)  # raises for a photo that cannot be used
    if image_orientation(path) == 1:
        shutil.copyfile(path, target)
    else:
        Image.fromarray(pixels).save(target, quality=95)


def _move(out: Path, names: list[str]) -> None:
    """Move complete files to their final place; earlier ones are moved aside first.

    The list of names is the journal from which `_undo` restores everything if this is interrupted.
    """
    partial = out / PARTIAL
    (partial / 'old').mkdir()
    write_json(names, partial / JOURNAL)
    for name in names:
        if (out / name).exists():
            (out / name).rename(partial / 'old' / name)
        (partial / 'new' / name).rename(out / name)
    (partial / JOURNAL).unlink()


def _undo(out: Path) -> None:
    """Remove incomplete files, and restore those that were moved aside."""
    partial = out / PARTIAL
    if (partial / JOURNAL).is_file():
        for name in read_json(partial / JOURNAL):
            if not (partial / 'new' / name).exists():  # it was moved already
                (out / name).rename(partial / 'new' / name)
            if (partial / 'old' / name).exists():
                (partial / 'old' / name).rename(out / name)
        (partial / JOURNAL).unlink()
    if partial.exists():
        shutil.rmtree(partial)


def names_of(split: str) -> tuple[str, str, str]:
    """Return the names of a split's JSON file, folder of PNGs and folder of images."""
    return f'{split}.json', f'panoptic_{split}', split


def segments_of(
    maps: Maps, labels: LabelSet
) -> tuple[npt.NDArray[np.int32], list[dict[str, Any]]]:
    """Return segment ids from 1, 0 for void, (H, W), and their entries in COCO's format."""
    class_map, instance_map = maps
    values, place = np.unique(instance_map.astype(np.int64) << 8 | class_map, return_inverse=True)
    classes, labelled = values & 255, values & 255 != VOID_ID
    ids = np.where(labelled, np.cumsum(labelled), 0).astype(np.int32)
    id_map = ids[place.reshape(class_map.shape)]
    areas = np.bincount(id_map.ravel(), minlength=len(values) + 1)
    is_thing = thing_table(labels)
    boxes = ndimage.find_objects(id_map)
    return id_map, [
        {
            'id': int(i),
            'category_id': labels.labels[c].category_id,
            'area': int(areas[i]),
            'bbox': [
                box[1].start,
                box[0].start,
                box[1].stop - box[1].start,
                box[0].stop - box[0].start,
            ],
            'iscrowd': int(is_thing[c] and value < 256),
        }
        for i, c, value in zip(ids, classes, values, strict=True)
        if i
        for box in [boxes[i - 1]]
    ]


def unique_names(reader: FileReader, indices: Sequence[int]) -> list[str]:
    """Return file names for images that go to one folder, with their folders if names clash.

    Raises:
        ValueError: if names clash even with their folders.
    """
    paths = [reader.pairs[i].image for i in indices]
    names = [path.name for path in paths]
    if len({Path(name).stem for name in names}) < len(names):
        names = ['_'.join(path.parts) for path in inner_paths(paths)]
    twice = [stem for stem, n in Counter(Path(name).stem for name in names).items() if n > 1]
    if twice:
        raise ValueError(f'images of the same name cannot be distinguished: {listing(twice)}')
    return names
