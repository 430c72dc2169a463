# SPDX-License-Identifier: Apache-2.0
"""Summary of a replay, as plain values (summary.json) and as text."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from panoptic_ros.core.resources import default_model
from panoptic_ros.core.text import counted
from panoptic_ros.node.model_loading import LoadedModel
from panoptic_ros.recordings.image_topics import camera_title
from panoptic_ros.replay.config import ReplayConfig
from panoptic_ros.replay.frame_records import count_texts, latency_summary, period_s, track_summary
from panoptic_ros.replay.run import ReplayResult

RATE_DIGITS = 2

SHARED_STAMPS = (
    'share their stamp with another; each is scored with the ground truth of that '
    'stamp that was recorded nearest to it'
)
"""Explanation of `sharing_a_stamp` for users."""


def summarize(
    config: ReplayConfig,
    loaded: LoadedModel,
    result: ReplayResult,
    source: str,
    mode: str,
    unmatched: Mapping[str, int],
) -> dict[str, Any]:
    """Summarise a replay.

    Args:
        config: settings of the replay.
        loaded: the model.
        result: of the replay.
        source: description of the recording.
        mode: `lock-step` or `live`.
        unmatched: number of ground truth stamps without an image, by camera.

    Returns:
        The values of summary.json. `frames` and `cameras` count images: of the `expected` ones in
        the bag, `lost` could not be read because of damage; of the `replayed` ones some are `bad`
        (by reason). `stamps` counts images with unusable stamps by problem, `sharing_a_stamp` the
        scored images whose stamp another image has too. `scores` are in percent, None without
        ground truth. `depth` counts images with results in metres, and those without by
        reason; it is missing where there is no depth. Everything except `timing` is the same in
        every run.
    """
    records = result.records
    cameras = {
        name: _camera_summary(config, name, result, unmatched.get(name)) for name in config.cameras
    }
    busy_s = sum(record.times_ms['total'] for record in records if record.times_ms) / 1e3
    good = sum(not record.problem for record in records)
    return {
        **describe_replay(config, loaded, source, mode),
        'damage': config.recording.damage,
        'frames': {
            'replayed': len(records),
            'good': good,
            'bad': len(records) - good,
            'lost': sum(camera['lost'] for camera in cameras.values()),
        },
        'cameras': cameras,
        'tracks': track_summary(records, loaded.predictor.info.labels.names),
        'scores': result.scores.to_dict() if result.scores else None,
        'timing': {
            'wall_s': round(result.wall_s, RATE_DIGITS),
            'latency_ms': latency_summary(records),
            'rate_hz': round(good / busy_s, RATE_DIGITS) if busy_s else None,
            'kept_from_earlier': result.reused,
            'finished': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        },
    }


def describe_replay(
    config: ReplayConfig, loaded: LoadedModel, source: str, mode: str
) -> dict[str, Any]:
    """Return the part of the summary that is known before the replay; see `summarize`."""
    info = loaded.predictor.info
    return {
        'source': str(Path(source).resolve()),
        'mode': mode,
        'cameras': {name: _topics(config, name) for name in config.cameras},
        'ground_truth': {name: gt.name for name, gt in config.ground_truths.items()},
        'model': {
            **loaded.describe(),
            'file': Path(config.settings['model'] or default_model()).name,
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
            for name, value in config.settings.items()
        },
        'part': {
            'start_s': config.start_s,
            'duration_s': config.duration_s,
            'stride': config.stride,
        },
    }


def _topics(config: ReplayConfig, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {'topic': config.cameras[name]}
    if name in config.beside:
        values['beside'] = dict(config.beside[name].topics)
    return values


def _camera_summary(
    config: ReplayConfig, name: str, result: ReplayResult, unmatched: int | None
) -> dict[str, Any]:
    topic = config.cameras[name]
    own = [record for record in result.records if record.camera == name]
    seconds = period_s(own)
    expected = config.recording.topics[topic].messages
    values: dict[str, Any] = {
        **_topics(config, name),
        'expected': expected,
        'replayed': len(own),
        # The number of images behind the damage is not known for a part of a recording.
        'lost': max(0, -(-expected // config.stride) - len(own))
        if config.is_complete and config.recording.damage
        else 0,
        'bad': count_texts(record.problem for record in own),
        'stamps': count_texts(record.stamp_problem for record in own),
        'rate_hz': round(1 / seconds, RATE_DIGITS) if seconds else None,
        'switches': None,
    }
    if name in result.depth:
        values['depth'] = {
            'used': result.depth[name].used,
            'mismatches': {
                reason.value: count for reason, count in result.depth[name].mismatches.items()
            },
        }
    if name in config.ground_truths:
        values['switches'] = sum(len(record.switches) for record in own)
        values['scored'] = sum(record.quality is not None for record in own)
        values['without_ground_truth'] = sum(record.quality is None for record in own)
        values['ground_truth_without_image'] = unmatched
        stamps = Counter(record.stamp_ns for record in own if record.quality is not None)
        values['sharing_a_stamp'] = sum(n for n in stamps.values() if n > 1)
    return values


def format_summary(summary: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a short text about a summary."""
    frames, timing = summary['frames'], summary['timing']
    latency = timing['latency_ms'].get('total', {})
    yield (
        f'{frames["good"]} of {frames["replayed"]} images, '
        f'{_number(timing["rate_hz"], 2)} images/s, latency '
        f'p50 {_number(latency.get("p50"), 0)} ms, p95 {_number(latency.get("p95"), 0)} ms'
    )
    if timing['kept_from_earlier']:
        yield (
            f'{timing["kept_from_earlier"]} of them had passed the network before the replay was '
            'interrupted'
        )
    for name, camera in summary['cameras'].items():
        title = camera_title(name)
        for reason, count in camera['bad'].items():
            yield f'{title}: {count} bad: {reason}'
        for problem, count in camera['stamps'].items():
            yield f'{title}: {count} images: {problem}'
        if depth := camera.get('depth'):
            reasons = ', '.join(f'{n} {reason}' for reason, n in depth['mismatches'].items())
            yield (
                f'{title}: {counted(depth["used"], "image")} with depth'
                + (f', without: {reasons}' if reasons else '')
            )
        if camera.get('sharing_a_stamp'):
            yield f'{title}: {camera["sharing_a_stamp"]} images {SHARED_STAMPS}'
    if summary['damage']:
        yield f'the bag is damaged ({summary["damage"]}); {frames["lost"]} images are lost'
    yield counted(summary['tracks']['confirmed'], 'track')
    if summary['scores']:
        scores = summary['scores']
        video = scores['video']['all']
        yield (
            f'PQ {_number(scores["panoptic"]["all"]["pq"])}, '
            f'mIoU {_number(scores["semantic"]["miou"])}, STQ {_number(video["stq"])}, '
            f'VPQ {_number(video["vpq"])}, IDF1 {_number(video["idf1"])}, '
            f'{video["id_switches"]} id switches'
        )


def _number(value: float | None, digits: int = 1) -> str:
    return 'n/a' if value is None else f'{value:.{digits}f}'
