# SPDX-License-Identifier: Apache-2.0
"""Counts from which the scores of a replay follow, as plain values: counts.json.

Scores of several replays follow from the sum of their counts, not from the mean of their scores.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric
from panoptic_ros.metrics.video_panoptic import WINDOWS
from panoptic_ros.replay.scores import ReplayScores

COUNTS = 'counts.json'
"""Name of the file in the folder of a replay with ground truth."""


def counts_of(scores: ReplayScores) -> dict[str, Any]:
    """Return the counts as plain values for JSON, which keeps them exactly; closes the clip."""
    scores.video.end_clip()
    return {
        'labels': scores.labels.to_dicts(),
        'images': scores.frames,
        'clips': scores.video.tracks.clips,
        'sums': {
            key: {name: getattr(metric, name).tolist() for name in metric.sums}
            for key, metric in _metrics(scores).items()
        },
    }


def scores_of(counts: Mapping[str, Any], source: str) -> ReplayScores:
    """Return scores with these counts; they have no list of id switches.

    Args:
        counts: see `counts_of`.
        source: name of the file, for the message.

    Raises:
        ValueError: if the counts are damaged.
    """
    try:
        scores = ReplayScores(LabelSet.from_dicts(counts['labels']))
        scores.images.images = scores.video.frames = int(counts['images'])
        scores.video.tracks.clips = int(counts['clips'])
        for key, metric in _metrics(scores).items():
            for name in metric.sums:
                array = getattr(metric, name)
                values = np.array(counts['sums'][key][name], array.dtype)
                if values.shape != array.shape:
                    raise ValueError(f'{key}.{name} has shape {values.shape}, not {array.shape}')
                array[...] = values
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{source} is damaged: {error!r}; replay the recording again') from None
    return scores


def _metrics(scores: ReplayScores) -> dict[str, SumMetric]:
    """Return every metric with counts, by a name that is unique among them."""
    video = scores.video
    return {
        'panoptic': scores.images.panoptic,
        'semantic': scores.images.semantic,
        'stq': video.stq,
        'stq_semantic': video.stq.semantic,
        'tracks': video.tracks,
        **{
            f'{key}_{window}': quality
            for key, windows in (
                ('vpq', video.vpq.every_frame),
                ('vpq_sampled', video.vpq.sampled),
            )
            for window, quality in zip(WINDOWS, windows.quality, strict=True)
        },
    }
