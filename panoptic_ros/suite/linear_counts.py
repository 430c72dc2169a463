# SPDX-License-Identifier: Apache-2.0
"""Scores of many sets of recordings at once, from counts that add up over recordings.

The figures are those of the metrics' own `compute`, which takes one set at a time; a bootstrap
needs those of thousands.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from panoptic_ros.metrics.panoptic import SegmentMatches
from panoptic_ros.metrics.semantic import MeanIoU
from panoptic_ros.replay.scores import ReplayScores

Floats = npt.NDArray[np.float64]

HEADLINE = ('pq', 'miou', 'stq', 'vpq', 'hota', 'idf1')
"""Figures over all classes."""


def linear_counts(scores: ReplayScores) -> dict[str, Floats]:
    """Return the counts from which `figures_of` computes, C classes.

    Returns:
        `panoptic` (4, C): IoU sum, true positives, false positives, false negatives; `vpq`
        (4, 4, C): the same for each window; `semantic` and `stq_semantic` (2, C): pixels of
        intersection and union; `stq` (2): association and tracks; `tracks` (3): ground-truth and
        predicted segments, id matches; `hota` (2, 19): true positives and association.
    """
    video, tracks = scores.video, scores.video.tracks
    things = scores.labels.is_thing
    counts = {
        'panoptic': _segments(scores.images.panoptic),
        'semantic': _pixels(scores.images.semantic),
        'stq_semantic': _pixels(video.stq.semantic),
        'vpq': np.stack([_segments(quality) for quality in video.vpq.every_frame.quality]),
        'stq': np.array([video.stq.association.sum(), video.stq.tracks.sum()]),
        'tracks': np.array([x[things].sum() for x in (tracks.gt, tracks.pred, tracks.id_matches)]),
        'hota': np.stack(
            [x[:, things].sum(axis=1) for x in (tracks.hota_matches, tracks.association)]
        ),
    }
    return {name: array.astype(float) for name, array in counts.items()}


def _segments(matches: SegmentMatches) -> Floats:
    return np.concatenate([matches.iou_sum[None], matches.counts])


def _pixels(metric: MeanIoU) -> Floats:
    both = metric.confusion[:, 1:].diagonal()
    union = metric.confusion.sum(axis=1) + metric.confusion[:, 1:].sum(axis=0) - both
    return np.stack([both, union]).astype(float)


def figures_of(counts: Mapping[str, Floats], names: Sequence[str]) -> dict[str, Floats]:
    """Return the scores of sets of recordings, percent; NaN if nothing counts.

    Args:
        counts: sums of `linear_counts`, with any further axes in front.
        names: of the classes.

    Returns:
        The figures of HEADLINE, and `pq:<class>`; each has the axes in front.
    """
    with np.errstate(invalid='ignore', divide='ignore'):
        by_class = _pq(counts['panoptic'])
        association, tracks = np.moveaxis(counts['stq'], -1, 0)
        gt, pred, id_matches = np.moveaxis(counts['tracks'], -1, 0)
        tp, agreement = np.moveaxis(counts['hota'], -2, 0)  # (..., 19)
        found = (gt + pred)[..., None]
        detection = np.where(found > 0, tp / np.maximum(found - tp, 1), np.nan)
        return {
            'pq': _mean(by_class),
            'miou': _miou(counts['semantic']),
            'stq': np.sqrt(100 * association / tracks * _miou(counts['stq_semantic'])),
            'vpq': _mean(_mean(_pq(counts['vpq']))),
            'hota': 100 * np.sqrt(detection * agreement / np.maximum(tp, 1)).mean(axis=-1),
            'idf1': 200 * id_matches / (gt + pred),
            **{f'pq:{name}': by_class[..., i] for i, name in enumerate(names)},
        }


def _pq(counts: Floats) -> Floats:
    """Return (..., C) percent from (..., 4, C)."""
    iou, tp, fp, fn = np.moveaxis(counts, -2, 0)
    return 100 * iou / (tp + (fp + fn) / 2)


def _miou(counts: Floats) -> Floats:
    """Return (...) percent from (..., 2, C)."""
    both, union = np.moveaxis(counts, -2, 0)
    return _mean(100 * both / union)


def _mean(values: Floats) -> Floats:
    """Return the mean over the last axis without NaN; NaN if there is nothing else."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
