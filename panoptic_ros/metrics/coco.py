# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality of predictions on disk, in the COCO panoptic format."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from panoptic_ros.core.coco_format import (
    Annotation,
    read_annotations,
    read_ids,
    read_json,
    read_labels,
)
from panoptic_ros.core.inputs import require_folder
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.panoptic import PanopticQuality


def score_image(gt: Annotation, pred: Annotation, labels: LabelSet) -> PanopticQuality:
    """Compare the two PNGs of one image.

    Raises:
        FileNotFoundError: if a PNG does not exist.
        ValueError: if a PNG does not fit its annotation, or the sizes differ.
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
    metric.update(pair_segments(labels, gt_ids, gt_class, pred_ids, pred_class, gt.crowd))
    return metric


def score_files(
    gt_json: Path, pred_json: Path, gt_folder: Path, pred_folder: Path
) -> tuple[LabelSet, int, Iterator[PanopticQuality]]:
    """Read both JSON files; the PNGs are compared while the result is consumed.

    Returns:
        The label set of the ground truth, the number of images, and one metric per image in the
        order of the ground truth, to be merged.

    Raises:
        FileNotFoundError: if a file or a folder does not exist.
        ValueError: if a file is invalid or lacks an image; the message names file and image.
    """
    gt_document, pred_document = read_json(gt_json), read_json(pred_json)
    for folder in (gt_folder, pred_folder):
        require_folder(Path(folder), 'folder with segmentation PNGs')
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
