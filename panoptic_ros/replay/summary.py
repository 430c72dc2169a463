# SPDX-License-Identifier: Apache-2.0
"""summary.json: what a replay came to, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from panoptic_ros.node.loading import Loaded
from panoptic_ros.replay.frame_records import count_texts, latency_summary, period_s, track_summary
from panoptic_ros.replay.run import Job, Outcome

RATE_DIGITS = 2

SHARED_STAMPS = (
    'share their stamp with another; each is scored with the ground truth of that '
    'stamp that was recorded nearest to it'
)
"""What `sharing_a_stamp` counts, for people."""


def summarize(
    job: Job,
    loaded: Loaded,
    outcome: Outcome,
    source: str,
    mode: str,
    unmatched: Mapping[str, int],
) -> dict[str, Any]:
    """Sums a replay up.

    Args:
        job: what was asked for.
        loaded: the model.
        outcome: what came of it.
        source: where the images come from, for people.
        mode: `lock-step` or `live`.
        unmatched: stamps of the ground truth that no image has, by camera.

    Returns:
        `frames` and `cameras` count images: of `expected` in the bag `lost` could not be read for
        damage, and of `replayed` some are `bad` (by reason) or, live, `dropped`; `stamps` counts
        those with unusable stamps by what is wrong, and `sharing_a_stamp` those that are scored
        and whose stamp is not theirs alone. `scores` are percent, None without ground
        truth. All but `timing` is the same in a second run.
    """
    info = loaded.predictor.info
    cameras = {name: _camera(job, name, outcome, unmatched.get(name)) for name in job.cameras}
    latency = latency_summary(outcome.records)
    busy_s = sum(record.times_ms['total'] for record in outcome.records if record.times_ms) / 1e3
    good = sum(not record.problem for record in outcome.records)
    return {
        'source': source,
        'mode': mode,
        'damage': job.recording.damage,
        'frames': {
            'replayed': len(outcome.records),
            'good': good,
            'bad': len(outcome.records) - good,
            'lost': sum(camera['lost'] for camera in cameras.values()),
        },
        'cameras': cameras,
        'tracks': track_summary(outcome.records, info.labels.names),
        'scores': outcome.scores.to_dict() if outcome.scores else None,
        'ground_truth': {name: truth.name for name, truth in job.truths.items()},
        'model': {
            **loaded.describe(),
            'input': list(info.input_size),
            'stride': info.stride,
            'embedding': info.embedding_kind,
            'embedding_dim': info.embedding_dim,
            'recipe_hash': info.recipe_hash,
            'validation': dict(info.scores),
            'classes': list(info.labels.names),
            'thresholds': {name: value.default for name, value in info.thresholds.items()},
            'mean': list(info.mean),
            'std': list(info.std),
            'config': dict(info.config),
        },
        'settings': {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in job.settings.items()
        },
        'part': {'start_s': job.start_s, 'duration_s': job.duration_s, 'stride': job.stride},
        'timing': {
            'wall_s': round(outcome.wall_s, RATE_DIGITS),
            'latency_ms': latency,
            'rate_hz': round(good / busy_s, RATE_DIGITS) if busy_s else None,
            'kept_from_earlier': outcome.kept,
        },
    }


def _camera(job: Job, name: str, outcome: Outcome, unmatched: int | None) -> dict[str, Any]:
    topic = job.cameras[name]
    own = [record for record in outcome.records if record.camera == name]
    problems = count_texts(record.problem for record in own)
    seconds = period_s(own)
    expected = job.recording.topics[topic].messages
    values: dict[str, Any] = {
        'topic': topic,
        'expected': expected,
        'replayed': len(own),
        # Of a part nobody knows how many images lie behind the damage.
        'lost': max(0, -(-expected // job.stride) - len(own))
        if job.is_whole and job.recording.damage
        else 0,
        'bad': problems,
        'stamps': count_texts(record.stamp_problem for record in own),
        'rate_hz': round(1 / seconds, RATE_DIGITS) if seconds else None,
        'switches': None,
    }
    if name in job.truths:
        values['switches'] = sum(len(record.switches) for record in own)
        values['scored'] = sum(record.quality is not None for record in own)
        values['without_ground_truth'] = sum(record.quality is None for record in own)
        values['ground_truth_without_image'] = unmatched
        stamps = Counter(record.stamp_ns for record in own if record.quality is not None)
        values['sharing_a_stamp'] = sum(n for n in stamps.values() if n > 1)
    return values
