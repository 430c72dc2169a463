"""Writes labelled images in COCO's panoptic format, as `coco:<folder>` reads it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from panoptic_ros.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.coco import categories, write_png

from .files import FileReader, Maps, thing_table
from .skipping import listing


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
    order = sorted(range(len(names)),
                   key=lambda i: hashlib.sha256(names[i].encode()).hexdigest())
    count = round(len(names) * val_share)
    if 0 < val_share < 1 and len(names) > 1:
        count = min(max(count, 1), len(names) - 1)
    splits = {'train': sorted(order[count:]), 'val': sorted(order[:count])}
    return {split: indices for split, indices in splits.items() if indices}


def targets(out: Path, split: str) -> tuple[Path, Path, Path]:
    """The JSON file, the folder of PNGs and that of images of a split.

    Raises:
        FileExistsError: if one of them is there.
    """
    paths = out / f'{split}.json', out / f'panoptic_{split}', out / split
    for path in paths:
        if path.exists():
            raise FileExistsError(f'{path} is there already; give another folder or remove it')
    return paths


def write_split(reader: FileReader, indices: Sequence[int], out: Path, split: str,
                ) -> Iterator[str]:
    """Writes one split; it appears when it is complete, its JSON file last.

    Args:
        reader: of the images.
        indices: which of them.
        out: folder of the new data set.
        split: `train` or `val`.

    Yields:
        the name of each image that is written.

    Raises:
        FileExistsError: if the split is there already.
        ValueError, OSError: if a file cannot be read.
    """
    json_path, masks, images = targets(out, split)
    names = unique_names(reader, indices)
    partial = out / f'.partial_{split}'
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped
    try:
        for name in ('masks', 'images'):
            (partial / name).mkdir(parents=True)
        listed, annotations = [], []
        for number, (index, name) in enumerate(zip(indices, names, strict=True), 1):
            maps = reader.read_labels(index)
            ids, segments = segments_of(maps, reader.labels)
            png = f'{Path(name).stem}.png'
            write_png(ids, partial / 'masks' / png)
            shutil.copyfile(reader.pairs[index].image, partial / 'images' / name)
            listed.append({'id': number, 'file_name': name, 'height': ids.shape[0],
                           'width': ids.shape[1]})
            annotations.append({'image_id': number, 'file_name': png, 'segments_info': segments})
            yield name
        (partial / 'split.json').write_text(json.dumps({
            'images': listed, 'annotations': annotations,
            'categories': categories(reader.labels)}), encoding='utf-8')
        (partial / 'masks').rename(masks)
        (partial / 'images').rename(images)
        (partial / 'split.json').rename(json_path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def segments_of(maps: Maps, labels: LabelSet,
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
        {'id': int(i), 'category_id': labels.labels[c].category_id, 'area': int(areas[i]),
         'bbox': [box[1].start, box[0].start, box[1].stop - box[1].start,
                  box[0].stop - box[0].start],
         'iscrowd': int(is_thing[c] and value < 256)}
        for i, c, value in zip(ids, classes, values, strict=True) if i
        for box in [boxes[i - 1]]]


def unique_names(reader: FileReader, indices: Sequence[int]) -> list[str]:
    """File names for the images of one folder; with their folder's where they would clash.

    Raises:
        ValueError: if they clash even so.
    """
    paths = [reader.pairs[i].image for i in indices]
    names = [path.name for path in paths]
    if len({Path(name).stem for name in names}) < len(names):
        names = [f'{path.parent.name}_{path.name}' for path in paths]
    twice = [stem for stem, n in Counter(Path(name).stem for name in names).items() if n > 1]
    if twice:
        raise ValueError(f'images of the same name cannot be told apart: {listing(twice)}')
    return names
