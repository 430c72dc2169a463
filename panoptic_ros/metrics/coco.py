"""Panoptic quality of predictions on disk, in the COCO panoptic format.

A JSON file has one annotation per image; each names a PNG of 8-bit RGB whose pixels hold the
segment id R + 256 G + 65536 B (0 = void), and lists the segments' categories.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.files import write_bytes
from panoptic_ros.labels import Label, LabelSet
from panoptic_ros.metrics.panoptic import PanopticQuality


@dataclass(frozen=True)
class Annotation:
    """The segments of one image."""

    image_id: int | str
    path: Path
    """PNG of segment ids."""
    category_of: dict[int, int]
    """Category id by segment id."""
    crowd: frozenset[int]
    """Ids of the segments that are crowds."""


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        FileNotFoundError, ValueError: in one line with the path.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}')
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from None
    if not isinstance(value, dict) or not isinstance(value.get('annotations'), list):
        raise ValueError(f'{path} is not in the COCO panoptic format: no list `annotations`')
    return value


def read_labels(document: dict[str, Any], path: Path) -> LabelSet:
    """The label set in a COCO panoptic JSON's `categories`, in their order.

    Raises:
        ValueError: if there is none, or an entry lacks a field.
    """
    if not document.get('categories'):
        raise ValueError(f'{path} lists no categories')
    try:
        return LabelSet(tuple(
            Label(str(entry['name']), bool(entry['isthing']),
                  tuple(entry.get('color', (0, 0, 0))), int(entry['id']))
            for entry in document['categories']))
    except KeyError as error:
        raise ValueError(f'{path}: a category lacks {error}') from None
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from None


def read_annotations(document: dict[str, Any], path: Path, folder: Path, labels: LabelSet,
                     ) -> dict[int | str, Annotation]:
    """The annotations of a COCO panoptic JSON by image id.

    Args:
        document: the parsed file.
        path: where it came from, for messages.
        folder: where its PNGs are.
        labels: the categories that may occur.

    Raises:
        ValueError: naming the file, image and segment, at the first fault.
    """
    annotations: dict[int | str, Annotation] = {}
    for entry in document['annotations']:
        try:
            image_id, segments = entry['image_id'], entry['segments_info']
            category_of = {int(s['id']): int(s['category_id']) for s in segments}
            crowd = frozenset(int(s['id']) for s in segments if s.get('iscrowd', 0))
            png = Path(folder) / entry['file_name']
        except (KeyError, TypeError) as error:
            raise ValueError(f'{path}: an annotation is incomplete: {error!r} in '
                             f'{str(entry)[:80]}') from None
        where = f'{path}: image {image_id}'
        if image_id in annotations:
            raise ValueError(f'{where} is annotated twice')
        if len(category_of) < len(segments) or 0 in category_of:
            raise ValueError(f'{where}: segment ids must differ and not be 0 (void)')
        for segment, category in category_of.items():
            if category not in labels.class_id_of_category:
                raise ValueError(f'{where}: segment {segment} has unknown category_id {category}')
        annotations[image_id] = Annotation(image_id, png, category_of, crowd)
    return annotations


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
        fault, ids_at_fault = (('in the PNG and not in the JSON', drawn - listed)
                               if drawn - listed else
                               ('in the JSON and not in the PNG', listed - drawn))
        raise ValueError(f'{where}: segment {min(ids_at_fault)} is {fault} '
                         f'({len(ids_at_fault)} such)')
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
    return [{'id': label.category_id, 'name': label.name, 'isthing': int(label.is_thing),
             'color': list(label.color)} for label in labels.labels]


def score_image(gt: Annotation, pred: Annotation, labels: LabelSet) -> PanopticQuality:
    """Compares one image's PNGs.

    Raises:
        FileNotFoundError, ValueError: as `read_ids`, and if the sizes differ.
    """
    gt_ids, pred_ids = read_ids(gt), read_ids(pred)
    if gt_ids.shape != pred_ids.shape:
        raise ValueError(f'image {gt.image_id}: the prediction is {pred_ids.shape[1]} x '
                         f'{pred_ids.shape[0]} pixels, the ground truth {gt_ids.shape[1]} x '
                         f'{gt_ids.shape[0]}')
    gt_class, pred_class = (
        {segment: labels.class_id_of_category[category]
         for segment, category in annotation.category_of.items()} for annotation in (gt, pred))
    metric = PanopticQuality(labels)
    metric.update(gt_ids, gt_class, pred_ids, pred_class, gt.crowd)
    return metric


def score_files(gt_json: Path, pred_json: Path, gt_folder: Path, pred_folder: Path,
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
        raise ValueError(f'{pred_json}: no prediction for image {missing[0]} '
                         f'({len(missing)} such)')
    pairs = [(annotation, pred[image_id]) for image_id, annotation in gt.items()]

    def metrics() -> Iterator[PanopticQuality]:
        pool = ThreadPoolExecutor(os.cpu_count())  # reading PNGs and counting release the GIL
        try:
            yield from pool.map(lambda pair: score_image(pair[0], pair[1], labels), pairs)
        finally:
            pool.shutdown(cancel_futures=True)

    return labels, len(pairs), metrics()
