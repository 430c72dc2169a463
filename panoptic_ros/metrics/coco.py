# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality of predictions on disk, in the COCO panoptic format.

A JSON file has one annotation per image; each names a PNG of 8-bit RGB whose pixels hold the
segment id R + 256 G + 65536 B (0 = void), and lists the segments' categories.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.coco_json import Annotation, read_annotations, read_json, read_labels
from panoptic_ros.metrics.panoptic import PanopticQuality

MAX_PIXELS = 89_478_485
"""Most pixels of an image file, from which Pillow too warns; a small file can claim many more."""


def read_ids(annotation: Annotation) -> npt.NDArray[np.uint32]:
    """Reads the PNG of an annotation and checks it against the listed segments.

    Returns:
        (H, W) segment id.

    Raises:
        FileNotFoundError: if there is no PNG.
        ValueError: if it is no 8-bit RGB image, or its ids are not those listed.
    """
    where = f'image {annotation.image_id}: {annotation.path}'
    ids = read_png(annotation.path, where)
    starts = np.flatnonzero(np.diff(ids.reshape(-1), prepend=0) != 0)
    drawn = set(np.unique(ids.reshape(-1)[starts]).tolist()) - {0}
    listed = set(annotation.category_of)
    if drawn != listed:
        fault, ids_at_fault = (
            ('in the PNG and not in the JSON', drawn - listed)
            if drawn - listed
            else ('in the JSON and not in the PNG', listed - drawn)
        )
        raise ValueError(
            f'{where}: segment {min(ids_at_fault)} is {fault} ({len(ids_at_fault)} such)'
        )
    return ids


def read_png(path: Path, where: str) -> npt.NDArray[np.uint32]:
    """Reads a PNG of ids R + 256 G + 65536 B.

    Args:
        path: the file.
        where: how to name it in messages.

    Returns:
        (H, W) ids.

    Raises:
        FileNotFoundError: if there is no PNG.
        ValueError: if it is no 8-bit RGB image.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{where} does not exist')
    with path.open('rb') as file:
        start = file.read(24)  # signature, length and name of the header, width, height
    height, width = int.from_bytes(start[20:], 'big'), int.from_bytes(start[16:20], 'big')
    if not start.startswith(b'\x89PNG'):
        raise ValueError(f'{where} is not an 8-bit RGB PNG')
    if height * width > MAX_PIXELS:
        raise ValueError(f'{where} has {width} x {height} pixels, expected {MAX_PIXELS} at most')
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] < 3:
        raise ValueError(f'{where} is not an 8-bit RGB PNG')
    rgba = cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_BGR2RGBA)
    return np.asarray(rgba.view('<u4')[:, :, 0] & 0xFFFFFF, np.uint32)


def write_png(ids: npt.NDArray[np.integer[Any]], path: Path) -> None:
    """Writes (H, W) ids below 2^24 as `read_png` reads them; the file is whole or not there."""
    rgba = np.ascontiguousarray(ids, '<u4').view(np.uint8).reshape(*ids.shape, 4)
    done, png = cv2.imencode('.png', cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR))
    assert done
    write_bytes(png.tobytes(), path)


def categories(labels: LabelSet) -> list[dict[str, Any]]:
    """A label set as `read_labels` reads it."""
    return [
        {
            'id': label.category_id,
            'name': label.name,
            'isthing': int(label.is_thing),
            'color': list(label.color),
        }
        for label in labels.labels
    ]


def score_image(gt: Annotation, pred: Annotation, labels: LabelSet) -> PanopticQuality:
    """Compares one image's PNGs.

    Raises:
        FileNotFoundError, ValueError: as `read_ids`, and if the sizes differ.
    """
    gt_ids, pred_ids = read_ids(gt), read_ids(pred)
    if gt_ids.shape != pred_ids.shape:
        raise ValueError(
            f'image {gt.image_id}: the prediction is {pred_ids.shape[1]} x '
            f'{pred_ids.shape[0]} pixels, the ground truth {gt_ids.shape[1]} x '
            f'{gt_ids.shape[0]}'
        )
    gt_class, pred_class = (
        {
            segment: labels.class_id_of_category[category]
            for segment, category in annotation.category_of.items()
        }
        for annotation in (gt, pred)
    )
    metric = PanopticQuality(labels)
    metric.update(gt_ids, gt_class, pred_ids, pred_class, gt.crowd)
    return metric


def score_files(
    gt_json: Path, pred_json: Path, gt_folder: Path, pred_folder: Path
) -> tuple[LabelSet, int, Iterator[PanopticQuality]]:
    """Reads both JSON files; the PNGs are compared while the result is consumed.

    Returns:
        The ground truth's label set, the number of images, and one metric per image in the
        ground truth's order, to be merged.

    Raises:
        FileNotFoundError, ValueError: in one line, naming file and image.
    """
    gt_document, pred_document = read_json(gt_json), read_json(pred_json)
    for folder in (gt_folder, pred_folder):
        if not Path(folder).is_dir():
            raise FileNotFoundError(f'no folder {folder} with segmentation PNGs')
    labels = read_labels(gt_document, gt_json)
    gt = read_annotations(gt_document, gt_json, gt_folder, labels)
    pred = read_annotations(pred_document, pred_json, pred_folder, labels)
    missing = [image_id for image_id in gt if image_id not in pred]
    if missing:
        raise ValueError(
            f'{pred_json}: no prediction for image {missing[0]} ({len(missing)} such)'
        )
    pairs = [(annotation, pred[image_id]) for image_id, annotation in gt.items()]

    def metrics() -> Iterator[PanopticQuality]:
        pool = ThreadPoolExecutor(os.cpu_count())  # reading PNGs and counting release the GIL
        try:
            yield from pool.map(lambda pair: score_image(pair[0], pair[1], labels), pairs)
        finally:
            pool.shutdown(cancel_futures=True)

    return labels, len(pairs), metrics()
