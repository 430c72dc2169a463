# SPDX-License-Identifier: Apache-2.0
"""Video segmentations on disk: a folder of PNGs per clip, one per frame, sorted by name.

A pixel is R + 256 G + 65536 B = class id * divisor + track id, with the ids and the divisor of a
class file. Void is white, the ids that the file ignores, and class 255 if
the file does not define it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.class_file import MAX_PIXEL_ID, ClassFile
from panoptic_ros.core.id_png import read_png
from panoptic_ros.core.inputs import require_folder
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.text import one_line
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.video_frame import measure_frame

BATCH = 64
"""Largest number of frames that are read ahead."""


class FramePair(NamedTuple):
    """Files of a frame."""

    clip: int
    """Index of the clip, from 0."""

    gt: Path
    pred: Path


def find_frames(gt_folder: Path, pred_folder: Path) -> list[FramePair]:
    """Pair the frames of two folders, in order.

    A folder that contains PNGs is one clip. Otherwise each of its sub-folders with PNGs is a clip,
    and the predictions need sub-folders of the same names; other sub-folders are ignored.

    Raises:
        FileNotFoundError: if a folder or its PNGs do not exist.
        ValueError: if the two sides have different numbers of frames.
    """
    for folder in (gt_folder, pred_folder):
        require_folder(folder, 'folder of PNGs')
    names = (
        ['.']
        if _pngs(gt_folder)
        else sorted(path.name for path in gt_folder.iterdir() if path.is_dir() and _pngs(path))
    )
    if not names:
        raise FileNotFoundError(f'no PNG in {gt_folder} or in a folder in it')
    pairs = []
    for clip, name in enumerate(names):
        gt, pred = _pngs(gt_folder / name), _pngs(pred_folder / name)
        if len(gt) != len(pred):
            raise ValueError(
                f'{gt_folder / name} has {len(gt)} PNGs and {pred_folder / name} '
                f'has {len(pred)}: expected one prediction for each frame'
            )
        pairs += [FramePair(clip, *files) for files in zip(gt, pred, strict=True)]
    return pairs


def _pngs(folder: Path) -> list[Path]:
    """Return the PNGs of a folder by name; none if the folder does not exist."""
    return sorted(path for path in folder.glob('*') if path.suffix.lower() == '.png')


def read_frame(
    path: Path, classes: ClassFile
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Read the class map, VOID_ID = void, and the track map of a PNG, (H, W).

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not such a PNG, or an id has an unknown class.
    """
    ids = read_png(path, str(path))
    table = classes.class_id_of
    categories, track_map = np.divmod(ids, np.uint32(classes.divisor))
    class_map = table[np.minimum(categories, len(table) - 1)]
    class_map[np.isin(ids, [MAX_PIXEL_ID, *classes.ignore])] = VOID_ID
    wrong = ids[class_map < 0]
    if wrong.size:
        known = sorted(classes.ids)
        expected = (
            f'{known[0]} to {known[-1]}'
            if known[-1] - known[0] == len(known) - 1
            else one_line(', '.join(map(str, known)))
        )
        raise ValueError(
            f'{path}: id {wrong[0]} is of class {wrong[0] // classes.divisor} with '
            f'label_divisor {classes.divisor}, expected class {expected} or {VOID_ID} (void)'
        )
    return class_map.astype(np.uint8), track_map


def measure_files(pairs: Sequence[FramePair], classes: ClassFile) -> Iterator[Overlaps]:
    """Yield the overlaps of each pair of PNGs, in order; other threads read some of them ahead.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is invalid or the sizes of a pair differ.
    """

    def measure(pair: FramePair) -> Overlaps:
        gt, pred = (read_frame(path, classes) for path in (pair.gt, pair.pred))
        if gt[0].shape != pred[0].shape:
            (h, w), (pred_h, pred_w) = gt[0].shape, pred[0].shape
            raise ValueError(f'{pair.pred} has {pred_w} x {pred_h} pixels, {pair.gt} {w} x {h}')
        return measure_frame(*gt, *pred, classes.labels)

    pool = ThreadPoolExecutor(os.cpu_count())  # reading PNGs and counting release the GIL
    try:
        for start in range(0, len(pairs), BATCH):
            yield from pool.map(measure, pairs[start : start + BATCH])
    finally:
        pool.shutdown(cancel_futures=True)
