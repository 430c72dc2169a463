# SPDX-License-Identifier: Apache-2.0
"""The table of tracks: what is remembered of each thing, and how it is kept up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import Floats, cosine_distance, unit

Tracks = npt.NDArray[np.void]
"""(N,) rows of `track_dtype`."""

LEAST_SPREAD = 1e-4
"""No embedding is taken to vary less, cosine distance."""

LEAST_STEP_S = 1e-3
"""Images closer together show no motion; a cell's jump between them would be a huge velocity."""

SPREAD_HITS = 3
"""Sightings that the expected spread of an embedding counts as much as."""


def track_dtype(embedding_dim: int) -> np.dtype[np.void]:
    """A track's row."""
    return np.dtype(
        [
            ('track_id', 'i8'),
            ('class_id', 'i8'),
            ('segment_id', 'i8'),  # in the last frame; 0 when not seen there
            ('box', 'f8', (4,)),
            ('velocity', 'f8', (4,)),  # x, y, w, h px; per second
            ('moved', '?'),  # whether the velocity has been measured
            ('embedding', 'f8', (embedding_dim,)),  # mean of unit vectors, unit length
            ('spread', 'f8'),  # mean cosine distance of the embeddings seen from that mean
            ('score', 'f8'),
            ('votes', 'f4', (VOID_ID,)),  # score by class; both averaged over time
            ('seen_s', 'f8'),
            ('hits', 'i8'),
            ('streak', 'i8'),
            ('age', 'i8'),
            ('confirmed', '?'),
        ]
    )


@dataclass(frozen=True)
class TrackerStats:
    """Tracks by state after the last frame; `active + new + coasting` are all there are."""

    active: int = 0
    """Confirmed and seen."""

    new: int = 0
    """Not confirmed yet."""

    coasting: int = 0
    """Confirmed and not seen, still looked for."""

    lost: int = 0
    """Confirmed tracks given up since the tracker was made."""


def describe(frame: PanopticFrame, things: npt.NDArray[np.intp], config: TrackerConfig) -> Tracks:
    """What tracks of the frame's things would look like.

    Args:
        frame: any frame.
        things: (M,) rows of its segments.
        config: the tracker's.
    """
    rows = frame.segments[things]
    found = np.zeros(len(rows), track_dtype(rows['embedding'].shape[1]))
    for name in ('class_id', 'segment_id', 'score'):
        found[name] = rows[name]
    for axis, name in enumerate(('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h')):
        found['box'][:, axis] = rows[name]
    found['box'][:, :2] += found['box'][:, 2:] / 2
    found['embedding'] = unit(rows['embedding'])
    found['spread'] = config.embedding_spread
    found['votes'][np.arange(len(rows)), found['class_id']] = np.maximum(rows['score'], 1e-3)
    found['seen_s'] = frame.stamp_s
    found['hits'] = found['streak'] = found['age'] = 1
    found['confirmed'] = config.min_hits == 1
    return found


def refresh(tracks: Tracks, found: Tracks, config: TrackerConfig) -> None:
    """Brings tracks that were seen again up to date.

    Args:
        tracks: (P,), changed in place.
        found: (P,) what each of them was matched with.
        config: the tracker's.
    """
    dt = found['seen_s'] - tracks['seen_s']  # (P,)
    tracks['hits'] += 1
    tracks['streak'] += 1
    tracks['confirmed'] |= tracks['streak'] >= config.min_hits

    step, moved = found['box'] - tracks['box'], dt >= LEAST_STEP_S
    speed = np.divide(step, dt[:, None], out=tracks['velocity'].copy(), where=moved[:, None])
    share = np.where(tracks['moved'], _share(dt, config.velocity_time_constant), 1)[:, None]
    tracks['velocity'] += share * (speed - tracks['velocity'])
    tracks['moved'] |= moved

    distance = 1 - (tracks['embedding'] * found['embedding']).sum(axis=1)
    share = np.maximum(_share(dt, config.embedding_time_constant), 1 / tracks['hits'])
    slow = np.maximum(
        _share(dt, config.embedding_time_constant), 1 / (tracks['hits'] + SPREAD_HITS - 1)
    )
    both = known(tracks) & known(found)
    tracks['spread'] += both * slow * (distance - tracks['spread'])
    mean = tracks['embedding'] + share[:, None] * (found['embedding'] - tracks['embedding'])
    tracks['embedding'] = np.where(
        both[:, None], unit(mean), tracks['embedding'] + found['embedding']
    )

    share = np.maximum(_share(dt, config.class_time_constant), 1 / tracks['hits'])
    tracks['votes'] *= (1 - share).astype(np.float32)[:, None]
    tracks['votes'][np.arange(len(found)), found['class_id']] += share * found['votes'].max(axis=1)
    tracks['score'] += share * (found['score'] - tracks['score'])
    tracks['class_id'] = tracks['votes'].argmax(axis=1)
    for name in ('segment_id', 'box', 'seen_s'):
        tracks[name] = found[name]


def predict(tracks: Tracks, stamp_s: float) -> Floats:
    """Where tracks are expected at a time: boxes x, y, w, h, (N, 4).

    Sides half or double at most: they are measured badly where a thing is partly hidden.
    """
    boxes = tracks['box'] + tracks['velocity'] * (stamp_s - tracks['seen_s'])[:, None]
    side = tracks['box'][:, 2:]
    boxes[:, 2:] = np.clip(boxes[:, 2:], side / 2, side * 2)
    return boxes


def embedding_distance(tracks: Tracks, found: Tracks, spread_factor: float) -> Floats:
    """Distance of embeddings in terms of what each track's own vary by, (N, M), 0 to 1.

    It means nothing where one of both is not known.
    """
    scale = spread_factor * np.maximum(tracks['spread'], LEAST_SPREAD)
    distance = cosine_distance(tracks['embedding'], found['embedding'])
    distance /= -scale.astype(np.float32)[:, None]
    return np.negative(np.expm1(distance, out=distance), out=distance)


def class_distance(tracks: Tracks, found: Tracks) -> Floats:
    """Share of a track's votes that is for other classes than a thing's, (N, M), 0 to 1."""
    classes, place = np.unique(found['class_id'], return_inverse=True)
    share: Floats = tracks['votes'][:, classes] / tracks['votes'].sum(axis=1, keepdims=True)
    return np.take(1 - share, place, axis=1)


def known(tracks: Tracks) -> npt.NDArray[np.bool_]:
    """Whether anything is known of the embedding, (N,)."""
    return np.any(tracks['embedding'] != 0, axis=1)


def _share(dt: Floats, seconds: float) -> Floats:
    """Weight of what is new in a mean over time."""
    return 1 - np.exp(-dt / seconds)
