# SPDX-License-Identifier: Apache-2.0
"""Average precision of instances by COCO's rules, computed by pycocotools.

Lin et al., Microsoft COCO, ECCV 2014. Ten IoU thresholds from 0.50 to 0.95, 101 recall levels, at
most 100 instances per class and image, all sizes. Crowds may be found any number of times or not
at all. COCO has no void: an instance predicted there is a false positive.
"""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, none_for_nan, require_same_labels
from panoptic_ros.metrics.image_pair import ImagePair
from panoptic_ros.metrics.overlap import Ints

MAX_PER_CLASS = 100
"""Number of instances of a class that count in an image, those of highest score."""


@dataclass(frozen=True)
class AveragePrecisionResult:
    """Average precision; NaN for stuff and for things that are not in the ground truth."""

    ap: ClassScores
    """Mean over the IoU thresholds 0.50, 0.55, ... 0.95, percent."""

    ap50: ClassScores
    """Average precision at IoU 0.50, percent."""

    ap75: ClassScores
    """Average precision at IoU 0.75, percent."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, percent; None stands for NaN."""
        scores, labels = (self.ap, self.ap50, self.ap75), self.ap.labels
        return {
            **{score.name: none_for_nan(score.mean) for score in scores},
            'per_class': [
                {
                    'name': labels.names[i],
                    **{score.name: none_for_nan(score.values[i]) for score in scores},
                }
                for i in np.flatnonzero(labels.is_thing)
            ],
        }


class AveragePrecision:
    """Average precision over images.

    Masks are kept as run lengths, a few hundred bytes each, because the ranking needs all images
    at once.

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
        """For each image `size` [H, W]; `gt`: [class id, crowd, mask] of each ground-truth
        instance; `pred`: [class id, score, mask] of each predicted one. Masks are pycocotools'
        strings."""
        self._result: AveragePrecisionResult | None = None  # ranking takes seconds

    def update(self, pair: ImagePair) -> None:
        """Add the things of one image.

        Raises:
            ValueError: if the predicted segments have no scores.
        """
        scores = pair.pred_scores
        if scores is None:
            raise ValueError('average precision needs the scores of the predicted segments')
        is_thing = self.labels.is_thing
        gt, pred = (
            np.flatnonzero(is_thing[classes] & (area > 0))
            for classes, area in ((pair.gt_class, pair.gt_area), (pair.pred_class, pair.pred_area))
        )
        found = [
            [int(pair.pred_class[i]), float(scores[i]), mask]
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
                # With equal scores pycocotools prefers the first; that must not depend on ids.
                'pred': sorted(found, key=lambda row: row[2]),
            }
        )

    def _runs(self, segment_map: Ints, ids: npt.NDArray[np.int64]) -> list[str]:
        """Return the masks of some ids as pycocotools' strings of runs, column by column."""
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
            counts = np.diff(
                borders, prepend=0, append=column.size
            )  # starts with a run of other ids
            if not counts[-1]:
                counts = counts[:-1]
            runs = {'size': list(segment_map.shape), 'counts': counts.tolist()}
            masks.append(self._mask.frPyObjects(runs, *segment_map.shape)['counts'].decode())
        return masks

    def merge(self, other: 'AveragePrecision') -> None:
        """Add the images of another instance, after the images of this one.

        Raises:
            ValueError: if its label set differs.
        """
        require_same_labels(self.labels, other.labels)
        self.images += other.images
        self._result = None

    def compute(self) -> AveragePrecisionResult:
        """Return the scores of all images so far."""
        if self._result is None:
            self._result = self._evaluate()
        return self._result

    def _evaluate(self) -> AveragePrecisionResult:
        from pycocotools.cocoeval import COCOeval

        things = np.flatnonzero(self.labels.is_thing).tolist()
        values = np.full((3, len(self.labels)), np.nan)
        if things and self.images:
            with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
                run = COCOeval(self._dataset('gt', things), self._dataset('pred', things), 'segm')
                run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ['all']
                run.params.maxDets = [MAX_PER_CLASS]
                run.evaluate()
                run.accumulate()
            precision = run.eval['precision'][:, :, :, 0, 0]  # (thresholds, recalls, things)
            by_threshold = np.where(precision < 0, np.nan, 100 * precision).mean(axis=1)
            values[:, things] = by_threshold.mean(axis=0), by_threshold[0], by_threshold[5]
        return AveragePrecisionResult(
            *(
                ClassScores(self.labels, name, row)
                for name, row in zip(('ap', 'ap50', 'ap75'), values, strict=True)
            )
        )

    def _dataset(self, side: str, things: list[int]) -> Any:
        """Return the ground truth (`gt`) or the predictions (`pred`) as a pycocotools data set."""
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
