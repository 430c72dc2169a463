# SPDX-License-Identifier: Apache-2.0
"""Video segmentations on disk: a folder of PNGs for each clip, one per frame, sorted by name.

A pixel is R + 256 G + 65536 B = class_id * label_divisor + track id. Void is class 255 or white.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.id_png import read_png
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.video_frame import measure_frame

DEFAULT_LABEL_DIVISOR = 1000

WHITE = 0xFFFFFF
"""VOID_PANOPTIC_ID, -1, in 24 bits."""

BATCH = 64
"""Frames that are read ahead at most."""


class FramePair(NamedTuple):
    """A frame's two files."""

    clip: int
    """Number of its clip, from 0."""

    gt: Path
    pred: Path


def read_label_file(path: Path) -> tuple[LabelSet, int]:
    """The classes in a YAML file, and its `label_divisor`.

    The file is a list as `LabelSet.from_dicts` takes it, or `labels:` with such a list and
    `label_divisor:`, by default 1000.

    Raises:
        FileNotFoundError, ValueError: in one line with the path.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}')
    document = read_yaml(path)
    divisor = DEFAULT_LABEL_DIVISOR
    if isinstance(document, Mapping):
        divisor, document = document.get('label_divisor', divisor), document.get('labels')
    if not isinstance(document, list) or not all(isinstance(x, Mapping) for x in document):
        raise ValueError(
            f'{path}: expected a list of classes with name, is_thing and color, or '
            'labels: with such a list'
        )
    check_divisor(divisor, f'{path}: label_divisor')
    try:
        return LabelSet.from_dicts(document), divisor
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from None


def check_divisor(divisor: object, what: str) -> None:
    """Raises ValueError unless it is a whole number from 1 to the largest pixel."""
    if type(divisor) is not int or not 1 <= divisor <= WHITE:
        raise ValueError(f'{what} must be a whole number over 0, at most {WHITE}, got {divisor}')


def find_frames(gt_folder: Path, pred_folder: Path) -> list[FramePair]:
    """Pairs the frames of two folders, in order.

    A folder with PNGs in it is one clip; otherwise each of its sub-folders with PNGs is one, and
    the predictions have sub-folders of the same names, and perhaps more.

    Raises:
        FileNotFoundError, ValueError: if folders or frames do not fit together.
    """
    for folder in (gt_folder, pred_folder):
        if not folder.is_dir():
            raise FileNotFoundError(f'no folder {folder}')
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
    """By name; none where there is no such folder."""
    return sorted(path for path in folder.glob('*') if path.suffix.lower() == '.png')


def read_frame(
    path: Path, labels: LabelSet, label_divisor: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Class map, VOID_ID = void, and track map of a PNG, (H, W).

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """
    ids = read_png(path, str(path))
    class_map, track_map = np.divmod(ids, np.uint32(label_divisor))
    class_map[ids == WHITE] = VOID_ID
    wrong = ids[(class_map >= len(labels)) & (class_map != VOID_ID)]
    if wrong.size:
        raise ValueError(
            f'{path}: id {wrong[0]} is of class {wrong[0] // label_divisor} with '
            f'label_divisor {label_divisor}, expected class 0 to {len(labels) - 1} '
            f'or {VOID_ID} (void)'
        )
    return class_map, track_map


def measure_files(
    pairs: Sequence[FramePair], labels: LabelSet, label_divisor: int
) -> Iterator[Overlaps]:
    """Reads and counts each pair of PNGs, in order; some are read ahead in other threads.

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """

    def measure(pair: FramePair) -> Overlaps:
        gt, pred = (read_frame(path, labels, label_divisor) for path in (pair.gt, pair.pred))
        if gt[0].shape != pred[0].shape:
            (h, w), (pred_h, pred_w) = gt[0].shape, pred[0].shape
            raise ValueError(f'{pair.pred} has {pred_w} x {pred_h} pixels, {pair.gt} {w} x {h}')
        return measure_frame(*gt, *pred, labels)

    pool = ThreadPoolExecutor(os.cpu_count())  # reading PNGs and counting release the GIL
    try:
        for start in range(0, len(pairs), BATCH):
            yield from pool.map(measure, pairs[start : start + BATCH])
    finally:
        pool.shutdown(cancel_futures=True)
