# SPDX-License-Identifier: Apache-2.0
"""Ground truth of recordings, as a replay reads it, from a data set of their frames."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.class_file import MAX_PIXEL_ID, format_class_file
from panoptic_ros.core.coco_format import (
    Annotation,
    read_annotations,
    read_ids,
    read_images,
    read_json,
    read_labels,
)
from panoptic_ros.core.files import lock_folder, replace_results, run_folder, write_bytes
from panoptic_ros.core.id_png import write_png
from panoptic_ros.core.inputs import require_folder
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.mining.prelabels import earlier_sources
from panoptic_ros.mining.sources import Sources

CLASSES = 'classes.yaml'

STAMP = re.compile(r'(?:(.*?)[_-])?(\d{10,19})')
"""File names without suffix that end with a stamp in nanoseconds."""


@dataclass(frozen=True)
class LabelledFrames:
    """Labelled frames of recordings."""

    labels: LabelSet

    cameras: Mapping[str, Mapping[int, Annotation]]
    """Annotations by stamp, ns, of each camera of a recording, by a name for it."""

    track_ids: Mapping[tuple[int | str, int], int]
    """Track id by image id and segment id; complete and unique within a camera."""

    tracked: bool
    """Whether the data set has track ids; without them, each instance of a frame has its own."""

    @property
    def divisor(self) -> int:
        """Power of ten above all track ids, from 1000 on."""
        most = max(self.track_ids.values(), default=0)
        return int(10 ** max(3, len(str(most))))


def read_labelled_frames(folder: Path, split: str) -> LabelledFrames:
    """Read the annotations of a split in COCO's panoptic format, without its PNGs.

    Stamps come from sources.json, else from the file names.

    Args:
        folder: holds `<split>.json` and `panoptic_<split>/`.
        split: name of the split.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, an image has no stamp, two have the same, or ids do not
            fit into the 24 bits of a pixel.
    """
    path = folder / f'{split}.json'
    document = read_json(path)
    masks = folder / f'panoptic_{split}'
    require_folder(masks, f'folder with the PNGs of {path}')
    labels = read_labels(document, path)
    listed, sources = read_images(document, path), earlier_sources(folder)
    cameras: dict[str, dict[int, Annotation]] = defaultdict(dict)
    for image_id, annotation in read_annotations(document, path, masks, labels).items():
        if image_id not in listed:
            raise ValueError(f'{path}: image {image_id} is annotated and not listed in `images`')
        name = listed[image_id].file_name
        camera, stamp = place_of(Path(name).stem, sources)
        if stamp in cameras[camera]:
            raise ValueError(f'{path}: {name} has the stamp of another image, {stamp}')
        cameras[camera][stamp] = annotation
    track_ids, tracked = _track_ids(document, cameras, labels)
    frames = LabelledFrames(labels, dict(cameras), track_ids, tracked)
    if len(labels) * frames.divisor > MAX_PIXEL_ID:
        raise ValueError(
            f'{path}: {len(labels)} classes and track ids up to {max(track_ids.values())} do not '
            'fit into 24 bits; convert fewer images at once'
        )
    return frames


def place_of(stem: str, sources: Sources) -> tuple[str, int]:
    """Return a name for the camera of an image, and its stamp, ns.

    Raises:
        ValueError: if neither `sources` nor the name tells the stamp.
    """
    named = STAMP.fullmatch(stem)
    if stem in sources.images:
        index, camera, stamp = sources.images[stem]
        prefix = (named and named[1]) or f'{Path(sources.recordings[index][0]).stem}_{camera}'
        return prefix, stamp
    if named is None:
        raise ValueError(
            f'image {stem} has no stamp: expected it in sources.json, or a name that ends with '
            'the stamp in ns, as drive_front_1317000000000000000.jpg'
        )
    return named[1] or '', int(named[2])


def _track_ids(
    document: Mapping[str, Any], cameras: Mapping[str, Mapping[int, Annotation]], labels: LabelSet
) -> tuple[dict[tuple[int | str, int], int], bool]:
    """Return track ids of the things by image and segment, and whether the data set has them."""
    given = {
        (entry['image_id'], segment['id']): segment.get('track_id')
        for entry in document['annotations']
        for segment in entry['segments_info']
    }
    things = [
        (annotation.image_id, segment)
        for frames in cameras.values()
        for _, annotation in sorted(frames.items())
        for segment, category in annotation.category_of.items()
        if labels.is_thing[labels.class_id_of_category[category]]
        and segment not in annotation.crowd
    ]
    known = [given[key] for key in things]
    if things and all(type(value) is int and 0 < value <= MAX_PIXEL_ID for value in known):
        return dict(zip(things, known, strict=True)), True
    return {key: number for number, key in enumerate(things, 1)}, False


def write_ground_truth(frames: LabelledFrames, folder: Path) -> Iterator[Path]:
    """Write `<stamp>.png` and the class file, in a folder for each camera if there are several.

    Args:
        frames: the labelled frames.
        folder: folder of the ground truth; earlier files of the same names are replaced once all
            are complete.

    Yields:
        Each PNG after it was written, under its temporary name.

    Raises:
        FileNotFoundError, ValueError: for a PNG that is missing or contradicts the JSON.
        FolderInUseError: if another process writes to the folder.
    """
    with lock_folder(folder, 'ground truth'), run_folder(folder) as work:
        for camera, annotations in frames.cameras.items():
            place = work / camera if len(frames.cameras) > 1 else work
            place.mkdir(exist_ok=True)
            for stamp, annotation in annotations.items():
                write_png(pixel_ids(frames, annotation), place / f'{stamp}.png')
                yield place / f'{stamp}.png'
            write_bytes(format_class_file(frames.labels, frames.divisor).encode(), place / CLASSES)
        replace_results(work, folder, CLASSES)


def pixel_ids(frames: LabelledFrames, annotation: Annotation) -> npt.NDArray[np.int64]:
    """Return class id * divisor + track id of each pixel, (H, W); void is white.

    The track id is 0 for stuff and crowds.
    """
    ids = read_ids(annotation)
    listed = np.array([0, *annotation.category_of], np.int64)
    values = [MAX_PIXEL_ID]
    for segment, category in annotation.category_of.items():
        track = frames.track_ids.get((annotation.image_id, segment), 0)
        values.append(frames.labels.class_id_of_category[category] * frames.divisor + track)
    order = np.argsort(listed)
    return np.array(values, np.int64)[order][np.searchsorted(listed[order], ids)]
