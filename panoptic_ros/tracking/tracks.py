# SPDX-License-Identifier: Apache-2.0
"""Table of tracks: one row per thing, its update and its distances to new things."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import Floats, cosine_distance, unit

Tracks = npt.NDArray[np.void]
"""(N,) rows of `track_dtype`."""

MIN_SPREAD = 1e-4
"""Least spread of an embedding, mean cosine distance."""

MIN_STEP_S = 1e-3
"""Least time between two images that gives a velocity; between closer ones, a jump by one cell
would be a huge velocity."""

SPREAD_HITS = 3
"""Number of matches that `embedding_spread` counts as in the average of a track's spread."""

PLACES = ('seen_at', 'place', 'speed')
"""Fields in metres, which are not known until the frame of a match has positions."""


@lru_cache(maxsize=16)
def track_dtype(embedding_dim: int) -> np.dtype[np.void]:
    """Return the row of a track with embeddings of a given length."""
    return np.dtype(
        [
            ('track_id', 'i8'),
            ('class_id', 'i8'),
            ('segment_id', 'i8'),  # in the last frame; 0 if it was not seen there
            ('box', 'f8', (4,)),  # centre x, centre y, width, height, camera px
            ('velocity', 'f8', (4,)),  # of the box, px/s
            ('has_velocity', '?'),  # whether the velocity has been measured
            ('embedding', 'f8', (embedding_dim,)),  # average of unit vectors, unit length
            ('spread', 'f8'),  # mean cosine distance of single embeddings from that average
            ('score', 'f8'),
            ('votes', 'f4', (VOID_ID,)),  # score by class id; both are averages over time
            ('seen_s', 'f8'),  # stamp of the last match
            ('hits', 'i8'),  # number of matches
            ('streak', 'i8'),  # number of consecutive matches up to the last frame
            ('age', 'i8'),  # number of frames since the first match, which counts
            ('confirmed', '?'),
            ('seen_at', 'f8', (3,)),  # position at the last match, m, camera's frame; or NaN
            ('place', 'f8', (3,)),  # the same in a frame that does not move, see `View`
            ('speed', 'f8', (3,)),  # velocity there, m/s
        ]
    )


@dataclass(frozen=True)
class TrackerStats:
    """Number of tracks by state after the last frame, and of those that were lost."""

    tentative: int = 0
    """Tracks that are not confirmed yet."""

    confirmed: int = 0
    """Confirmed tracks that were seen in the last frame."""

    coasting: int = 0
    """Confirmed tracks that were not seen in the last frame, but may be found again."""

    lost: int = 0
    """Confirmed tracks that have ended since the tracker was created."""


def detections_of(
    frame: PanopticFrame, things: npt.NDArray[np.intp], config: TrackerConfig
) -> Tracks:
    """Return the tracks that would start with a frame's things, (M,), without ids.

    Args:
        frame: the frame.
        things: (M,) indices of its things among the segments.
        config: the tracker's settings.
    """
    rows = frame.segments.take(things)
    detections = np.zeros(len(rows), track_dtype(rows['embedding'].shape[1]))
    for name in ('class_id', 'segment_id', 'score'):
        detections[name] = rows[name]
    for axis, name in enumerate(('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h')):
        detections['box'][:, axis] = rows[name]
    detections['box'][:, :2] += detections['box'][:, 2:] / 2
    detections['embedding'] = unit(rows['embedding'])
    detections['spread'] = config.embedding_spread
    votes = np.maximum(rows['score'], 1e-3)
    votes[rows['class_id'] == frame.unknown_id] = 0  # a withheld class votes for none
    detections['votes'][np.arange(len(rows)), detections['class_id']] = votes
    detections['seen_s'] = frame.stamp_s
    detections['hits'] = detections['streak'] = detections['age'] = 1
    detections['confirmed'] = config.min_hits == 1
    for name in PLACES:
        detections[name] = np.nan
    return detections


def update_tracks(tracks: Tracks, detections: Tracks, config: TrackerConfig) -> None:
    """Update tracks in place with the detections that match them.

    Args:
        tracks: (P,) tracks.
        detections: (P,) the detection of each track.
        config: the tracker's settings.
    """
    dt = detections['seen_s'] - tracks['seen_s']  # (P,)
    tracks['hits'] += 1
    tracks['streak'] += 1
    tracks['confirmed'] |= tracks['streak'] >= config.min_hits

    step, is_timed = detections['box'] - tracks['box'], dt >= MIN_STEP_S
    velocity = np.divide(step, dt[:, None], out=tracks['velocity'].copy(), where=is_timed[:, None])
    weight = np.where(tracks['has_velocity'], _new_weight(dt, config.velocity_time_constant), 1)
    tracks['velocity'] += weight[:, None] * (velocity - tracks['velocity'])
    tracks['has_velocity'] |= is_timed

    # Until the time constant has passed, averages weight all matches alike.
    distance = 1 - (tracks['embedding'] * detections['embedding']).sum(axis=1)
    new_weight = _new_weight(dt, config.embedding_time_constant)
    weight = np.maximum(new_weight, 1 / tracks['hits'])
    spread_weight = np.maximum(new_weight, 1 / (tracks['hits'] + SPREAD_HITS - 1))
    both = has_embedding(tracks) & has_embedding(detections)
    tracks['spread'] += both * spread_weight * (distance - tracks['spread'])
    mean = tracks['embedding'] + weight[:, None] * (detections['embedding'] - tracks['embedding'])
    tracks['embedding'] = np.where(
        both[:, None], unit(mean), tracks['embedding'] + detections['embedding']
    )

    weight = np.maximum(_new_weight(dt, config.class_time_constant), 1 / tracks['hits'])
    tracks['score'] += weight * (detections['score'] - tracks['score'])
    score = detections['votes'].max(axis=1)
    weight = np.where(score > 0, weight, 0)
    tracks['votes'] *= (1 - weight).astype(np.float32)[:, None]
    tracks['votes'][np.arange(len(detections)), detections['class_id']] += weight * score
    has_votes = tracks['votes'].any(axis=1)
    tracks['class_id'] = np.where(
        has_votes, tracks['votes'].argmax(axis=1), detections['class_id']
    )
    for name in ('segment_id', 'box', 'seen_s', *PLACES):
        tracks[name] = detections[name]


def predict(tracks: Tracks, stamp_s: float) -> Floats:
    """Return the boxes of tracks expected at a time, (N, 4): centre x and y, width, height, px.

    Their velocity is constant. Sides change by at most a factor of 2, because their velocity is
    wrong for partly hidden things.
    """
    boxes = tracks['box'] + tracks['velocity'] * (stamp_s - tracks['seen_s'])[:, None]
    side = tracks['box'][:, 2:]
    boxes[:, 2:] = np.minimum(np.maximum(boxes[:, 2:], side / 2), side * 2)
    return boxes


def embedding_distance(tracks: Tracks, detections: Tracks, spread_factor: float) -> Floats:
    """Compute the distances of embeddings in units of each track's spread, (N, M), 0 to 1.

    1 - exp(-cosine distance / (spread_factor * spread)); meaningless for rows without an
    embedding.
    """
    scale = spread_factor * np.maximum(tracks['spread'], MIN_SPREAD)
    distance = cosine_distance(tracks['embedding'], detections['embedding'])
    distance /= -scale.astype(np.float32)[:, None]
    return np.negative(np.expm1(distance, out=distance), out=distance)


def class_distance(tracks: Tracks, detections: Tracks) -> Floats:
    """Compute the share of each track's votes for other classes than a detection's, (N, M).

    It is 0 where the class of either is unknown.
    """
    share: Floats = tracks['votes'].take(detections['class_id'], axis=1)
    total = tracks['votes'].sum(axis=1, keepdims=True)
    share /= np.maximum(total, np.float32(1e-30))
    np.subtract(1, share, out=share)
    share[total[:, 0] == 0] = 0
    share[:, detections['votes'].max(axis=1) == 0] = 0
    return share


def has_embedding(tracks: Tracks) -> npt.NDArray[np.bool_]:
    """Return which rows have an embedding other than 0, (N,)."""
    is_known: npt.NDArray[np.bool_] = (tracks['embedding'] != 0).any(axis=1)
    return is_known


def _new_weight(dt: Floats, time_constant: float) -> Floats:
    """Return the weight of new values in an exponential moving average, all times in seconds."""
    return 1 - np.exp(-dt / time_constant)
