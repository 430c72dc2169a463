# SPDX-License-Identifier: Apache-2.0
"""Writes labelled images in COCO's panoptic format, as `coco:<folder>` reads it."""

from __future__ import annotations

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

from .files import FileReader, Maps, image_turn, inner_paths, read_rgb, thing_table
from .skipping import listing

PARTIAL = '.partial'
"""Folder of what is not complete yet, in that of the data set."""

JOURNAL = 'moving.json'
"""File in it that lists what is being moved to its place."""


def divide(names: Sequence[str], val_share: float) -> dict[str, list[int]]:
    """Divides images into train and val by their names: the same names always go the same way.

    Args:
        names: of the files, each once.
        val_share: part that is val; at least one image is, unless it is 0.

    Returns:
        indices by split; a split without images is left out.
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
    """The images that become one split."""

    reader: FileReader
    indices: Sequence[int]


def check_targets(out: Path, splits: Iterable[str], overwrite: bool = False) -> None:
    """Finds out whether splits may be written to a folder.

    Raises:
        FileExistsError: if one is there already and is not to be replaced, or a folder that no
            conversion wrote has its name.
    """
    for split in splits:
        names = _names(split)
        there = [out / name for name in names if (out / name).exists()]
        if there and not (out / names[0]).is_file():
            raise FileExistsError(
                f'{there[0]} is there and belongs to no data set, as {names[0]} '
                'is missing; give another folder or remove it'
            )
        if there and not overwrite:
            raise FileExistsError(
                f'{there[0]} is there already; give another folder, or --overwrite to replace it'
            )


def write_data(parts: Mapping[str, Part], out: Path, overwrite: bool = False) -> Iterator[str]:
    """Writes splits of a data set; they appear when all of them are complete.

    A conversion that is stopped or killed at any time leaves nothing that keeps the next one
    from its work.

    Args:
        parts: by split, `train` or `val`.
        out: folder of the new data set; one process at a time writes to it.
        overwrite: replace splits that are there.

    Yields:
        the name of each image that is written.

    Raises:
        FolderInUseError: if another process writes to the folder.
        FileExistsError: see `check_targets`.
        ValueError, OSError: if a file cannot be read or written.
    """
    partial = out / PARTIAL
    with lock_folder(out, 'conversion'):
        try:
            _undo(out)  # what a killed process was moving
            check_targets(out, parts, overwrite)
            for split, part in parts.items():
                yield from _write_split(part, partial / 'new', split)
            _move(out, [name for split in parts for name in _names(split)])
        finally:
            _undo(out)


def _write_split(part: Part, folder: Path, split: str) -> Iterator[str]:
    reader, indices = part
    json_path, masks, images = (folder / name for name in _names(split))
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
    """Copies a photo; one that viewers would turn is written anew, so that they do not."""
    pixels = read_rgb(path, exif)  # finds out whether the photo can be used
    if image_turn(path) == 1:
        shutil.copyfile(path, target)
    else:
        Image.fromarray(pixels).save(target, quality=95)


def _move(out: Path, names: list[str]) -> None:
    """Gives what is complete its place; what was there before is moved aside first.

    The list of names is the journal by which `_undo` puts all back if this is stopped.
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
    """Removes what is not complete, and puts back what was moved aside for it."""
    partial = out / PARTIAL
    if (partial / JOURNAL).is_file():
        for name in read_json(partial / JOURNAL):
            if not (partial / 'new' / name).exists():  # it has its place already
                (out / name).rename(partial / 'new' / name)
            if (partial / 'old' / name).exists():
                (partial / 'old' / name).rename(out / name)
        (partial / JOURNAL).unlink()
    if partial.exists():
        shutil.rmtree(partial)


def _names(split: str) -> tuple[str, str, str]:
    """The JSON file, the folder of PNGs and that of images of a split."""
    return f'{split}.json', f'panoptic_{split}', split


def segments_of(
    maps: Maps, labels: LabelSet
) -> tuple[npt.NDArray[np.int32], list[dict[str, Any]]]:
    """Segment ids from 1, 0 for void, (H, W); and what COCO's format says of each."""
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
    """File names for the images of one folder; with their folder's where they would clash.

    Raises:
        ValueError: if they clash even so.
    """
    paths = [reader.pairs[i].image for i in indices]
    names = [path.name for path in paths]
    if len({Path(name).stem for name in names}) < len(names):
        names = ['_'.join(path.parts) for path in inner_paths(paths)]
    twice = [stem for stem, n in Counter(Path(name).stem for name in names).items() if n > 1]
    if twice:
        raise ValueError(f'images of the same name cannot be told apart: {listing(twice)}')
    return names
