# SPDX-License-Identifier: Apache-2.0
"""Average precision of instances by COCO's rules, computed by pycocotools.

Lin et al., Microsoft COCO, ECCV 2014. Ten IoU thresholds from 0.50 to 0.95, 101 recall levels, at
most 100 instances of a class in an image, all sizes. Crowds may be found any number of times or
not at all. COCO knows no void: an instance found there is a mistake.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, none_for_nan
from panoptic_ros.metrics.image_pair import Pair
from panoptic_ros.metrics.overlap import Ints

MAX_PER_CLASS = 100
"""Instances of a class that count in an image, those of highest score."""


@dataclass(frozen=True)
class AveragePrecisionResult:
    """What `AveragePrecision.result` returns; NaN for stuff and for things not in the truth."""

    ap: ClassScores
    """Mean over the IoU thresholds 0.50, 0.55, ... 0.95."""

    ap50: ClassScores
    """At IoU 0.50."""

    ap75: ClassScores
    """At IoU 0.75."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, percent; None stands for NaN."""
        scores = {'ap': self.ap, 'ap50': self.ap50, 'ap75': self.ap75}
        labels = self.ap.labels
        return {
            **{name: none_for_nan(score.mean) for name, score in scores.items()},
            'per_class': [
                {
                    'name': labels.names[i],
                    **{name: none_for_nan(score.values[i]) for name, score in scores.items()},
                }
                for i in np.flatnonzero(labels.is_thing)
            ],
        }


class AveragePrecision:
    """Collects images one at a time; instances that saw different images can be merged.

    Masks are kept as run lengths, a few hundred bytes each: ranking needs all images at once.

    Raises:
        ImportError: if pycocotools is not installed.
    """

    def __init__(self, labels: LabelSet) -> None:
        try:
            from pycocotools import mask
        except ImportError:
            raise ImportError(
                'average precision is computed by pycocotools, which is not installed'
            ) from None
        self._mask = mask
        self.labels = labels
        self.images: list[dict[str, Any]] = []
        """For each image `size` [H, W]; `gt`: [class id, crowd, mask] of each true instance;
        `pred`: [class id, score, mask] of each predicted one; masks in pycocotools' string."""
        self._result: AveragePrecisionResult | None = None  # ranking takes seconds

    def add(self, pair: Pair, pred_scores: npt.NDArray[np.floating[Any]]) -> None:
        """Adds the things of one image.

        Args:
            pair: the image.
            pred_scores: (P,) how sure each predicted segment is.

        Raises:
            ValueError: if there is not one number for each segment.
        """
        if pred_scores.shape != pair.pred_ids.shape or not np.isfinite(pred_scores).all():
            raise ValueError(
                f'expected a finite score for each of {len(pair.pred_ids)} '
                f'segments, got {pred_scores}'
            )
        is_thing = self.labels.is_thing
        gt, pred = (
            np.flatnonzero(is_thing[classes] & (area > 0))
            for classes, area in ((pair.gt_class, pair.gt_area), (pair.pred_class, pair.pred_area))
        )
        found = [
            [int(pair.pred_class[i]), float(pred_scores[i]), mask]
            for i, mask in zip(pred, self._runs(pair.pred_map, pair.pred_ids[pred]), strict=True)
        ]
        self._result = None
        self.images.append(
            {
                'size': list(pair.gt_map.shape),
                'gt': [
                    [int(pair.gt_class[i]), int(pair.crowd[i]), mask]
                    for i, mask in zip(gt, self._runs(pair.gt_map, pair.gt_ids[gt]), strict=True)
                ],
                # pycocotools lets the first of equal scores win: let that not hang on ids.
                'pred': sorted(found, key=lambda row: row[2]),
            }
        )

    def _runs(self, segment_map: Ints, ids: npt.NDArray[np.int64]) -> list[str]:
        """Masks of some ids in pycocotools' string: runs down the columns, found in one pass."""
        if not len(ids):
            return []
        column = segment_map.T.reshape(-1)
        starts = np.concatenate([[0], np.flatnonzero(column[1:] != column[:-1]) + 1])
        ends = np.append(starts[1:], column.size)
        owner = column[starts]
        masks = []
        for i in ids:
            own = owner == i
            borders = np.stack([starts[own], ends[own]], axis=1).reshape(-1)
            counts = np.diff(borders, prepend=0, append=column.size)  # not i, i, not i, ...
            if not counts[-1]:
                counts = counts[:-1]
            runs = {'size': list(segment_map.shape), 'counts': counts.tolist()}
            masks.append(self._mask.frPyObjects(runs, *segment_map.shape)['counts'].decode())
        return masks

    def merge(self, other: AveragePrecision) -> None:
        """Adds what another instance has seen, after what this one has.

        Raises:
            ValueError: if its label set is another one.
        """
        if other.labels != self.labels:
            raise ValueError('only metrics of the same label set can be merged')
        self.images += other.images
        self._result = None

    def result(self) -> AveragePrecisionResult:
        """Scores of all images so far."""
        if self._result is None:
            self._result = self._evaluate()
        return self._result

    def _evaluate(self) -> AveragePrecisionResult:
        from pycocotools.cocoeval import COCOeval

        things = np.flatnonzero(self.labels.is_thing).tolist()
        values = np.full((3, len(self.labels)), np.nan)
        if things and self.images:
            with redirect_stdout(io.StringIO()):  # pycocotools tells what it does
                run = COCOeval(self._dataset('gt', things), self._dataset('pred', things), 'segm')
                run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ['all']
                run.params.maxDets = [MAX_PER_CLASS]
                run.evaluate()
                run.accumulate()
            precision = run.eval['precision'][:, :, :, 0, 0]  # (thresholds, recalls, things)
            by_threshold = np.where(precision < 0, np.nan, 100 * precision).mean(axis=1)
            values[:, things] = by_threshold.mean(axis=0), by_threshold[0], by_threshold[5]
        return AveragePrecisionResult(*(ClassScores(self.labels, row) for row in values))

    def _dataset(self, side: str, things: list[int]) -> Any:
        """The true or the predicted instances as pycocotools takes them."""
        from pycocotools.coco import COCO

        annotations: list[dict[str, Any]] = []
        for image_id, image in enumerate(self.images):
            for class_id, value, counts in image[side]:
                runs = {'size': image['size'], 'counts': counts}
                annotations.append(
                    {
                        'id': len(annotations) + 1,
                        'image_id': image_id,
                        'category_id': class_id,
                        'segmentation': runs,
                        'area': int(self._mask.area(runs)),
                        'iscrowd': value if side == 'gt' else 0,
                        'score': value,
                    }
                )
        data = COCO()
        data.dataset = {
            'images': [
                {'id': i, 'height': image['size'][0], 'width': image['size'][1]}
                for i, image in enumerate(self.images)
            ],
            'categories': [{'id': i} for i in things],
            'annotations': annotations,
        }
        data.createIndex()
        return data
