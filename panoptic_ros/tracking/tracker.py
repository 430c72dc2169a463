"""Gives things the same id from image to image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from panoptic_ros.frame import PanopticFrame, TrackState
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import box_iou, cosine_distance, grow, mask_iou, unit

NEAR_FACTOR = 2.0
"""Boxes are grown by this before they are compared, to find fast things again."""

NEAR_CELLS = 2
"""And by this on each side, as the edges of the smallest things jump by whole cells."""

MIN_OVERLAP = 0.1
"""Things with less overlap are not matched, however alike: few things jump, many look alike."""

EMBEDDING_MEMORY = 10
"""Images over which a track's embedding is averaged."""

VELOCITY_MEMORY = 0.5
"""Share of the old velocity when a track is updated."""


def _track_dtype(embedding_dim: int) -> np.dtype[np.void]:
    return np.dtype([
        ('track_id', 'i8'), ('class_id', 'i8'),
        ('segment_id', 'i8'),  # in the last frame; 0 when not seen there
        ('box', 'f8', (4,)), ('velocity', 'f8', (2,)),  # x1, y1, x2, y2 px; x, y px/s
        ('embedding', 'f8', (embedding_dim,)),  # mean of unit vectors, unit length
        ('seen_s', 'f8'), ('hits', 'i8'), ('age', 'i8'), ('confirmed', '?'),
    ])


@dataclass(frozen=True)
class TrackerStats:
    """Tracks by state after the last frame; `active + new + coasting` are all there are."""

    active: int = 0
    """Confirmed and seen."""

    new: int = 0
    """Seen, not confirmed yet."""

    coasting: int = 0
    """Confirmed and not seen, still looked for."""

    lost: int = 0
    """Confirmed tracks given up since the tracker was made."""


class Tracker:
    """Follows the things of one camera.

    A track starts tentative, is confirmed after `min_hits` images in a row, coasts while it is
    not seen, and is given up `max_age` seconds after it was last seen, or at its first miss while
    tentative. Ids count up and are never given twice, not even after `reset`.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        """May be exchanged between two frames."""
        self._next_id = 1
        self._lost = 0
        self._tracks = np.zeros(0, _track_dtype(0))
        self._last: PanopticFrame | None = None

    def reset(self) -> None:
        """Forgets all tracks; what comes next is new."""
        self._lost += int(self._tracks['confirmed'].sum())
        self._tracks = self._tracks[:0]
        self._last = None

    @property
    def stats(self) -> TrackerStats:
        """Counts for people and diagnostics."""
        seen, confirmed = self._tracks['segment_id'] > 0, self._tracks['confirmed']
        return TrackerStats(active=int((seen & confirmed).sum()), new=int((~confirmed).sum()),
                            coasting=int((confirmed & ~seen).sum()), lost=self._lost)

    def update(self, frame: PanopticFrame) -> PanopticFrame:
        """Takes the next frame, also when there is nothing in it.

        An earlier stamp than the last (a bag that starts again) or another embedding size (a new
        model) forgets all tracks first.

        Args:
            frame: as decoded; it is not changed.

        Returns:
            The same frame with track_id, state and age of its things; age counts images since
            the track's first, from 1. Stuff is untracked with id 0.
        """
        things = np.flatnonzero(frame.segments['is_thing'])
        found = self._describe(frame, things)
        if self._last and (frame.stamp_s < self._last.stamp_s
                           or found.dtype != self._tracks.dtype):
            self.reset()
        if not self._last:
            self._tracks = np.zeros(0, found.dtype)
        self._fit_image_size(frame)
        self._give_up(frame.stamp_s - self._tracks['seen_s'] > self.config.max_age)

        tracks, new = self._match(frame, found)
        self._tracks['age'] += 1
        self._tracks['segment_id'] = 0
        self._refresh(tracks, found[new])
        self._give_up((self._tracks['segment_id'] == 0) & ~self._tracks['confirmed'])
        self._start(np.delete(found, new))
        self._last = frame
        return replace(frame, segments=self._rows(frame, things))

    def _describe(self, frame: PanopticFrame, things: npt.NDArray[np.intp],
                  ) -> npt.NDArray[np.void]:
        """What tracks of the frame's things would look like."""
        rows = frame.segments[things]
        found = np.zeros(len(rows), _track_dtype(rows['embedding'].shape[1]))
        found['class_id'], found['segment_id'] = rows['class_id'], rows['segment_id']
        found['box'] = np.stack([rows['bbox_x'], rows['bbox_y'], rows['bbox_x'] + rows['bbox_w'],
                                 rows['bbox_y'] + rows['bbox_h']], axis=1)
        found['embedding'] = unit(rows['embedding'])
        found['seen_s'] = frame.stamp_s
        return found

    def _fit_image_size(self, frame: PanopticFrame) -> None:
        """Brings boxes to the frame's size: a camera that changes it still shows the same."""
        if not self._last or self._last.geometry.image_size == frame.geometry.image_size:
            return
        y, x = (new / old for new, old in zip(frame.geometry.image_size,
                                              self._last.geometry.image_size, strict=True))
        self._tracks['box'] *= [x, y, x, y]
        self._tracks['velocity'] *= [x, y]

    def _match(self, frame: PanopticFrame, found: npt.NDArray[np.void],
               ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Pairs of track and thing, as two (P,) arrays of places."""
        config, tracks = self.config, self._tracks
        embedding_weight = config.embedding_weight if found['embedding'].shape[1] else 0.0
        total = embedding_weight + config.iou_weight
        if not self._last or not len(tracks) or not len(found) or not total:
            nothing = np.zeros(0, np.intp)
            return nothing, nothing
        overlap = self._overlap(frame, found)
        cost = (embedding_weight * cosine_distance(tracks['embedding'], found['embedding'])
                + config.iou_weight * (1 - overlap)) / total
        cost[tracks['class_id'][:, None] != found['class_id']] = np.inf
        if config.iou_weight:
            cost[overlap < MIN_OVERLAP] = np.inf
        # A cost at the gate for all that is beyond it: no good pair is given up for two bad ones.
        old, new = linear_sum_assignment(np.minimum(cost, config.gate))
        close = cost[old, new] < config.gate
        return old[close], new[close]

    def _overlap(self, frame: PanopticFrame, found: npt.NDArray[np.void],
                 ) -> npt.NDArray[np.float64]:
        """(N, M) overlap of tracks, moved on to the frame's time, with things; 0 to 1."""
        assert self._last is not None
        tracks = self._tracks
        moved = tracks['velocity'] * (frame.stamp_s - tracks['seen_s'])[:, None]  # (N, 2) px
        expected = tracks['box'] + np.tile(moved, 2)
        cell_xy = np.array(frame.geometry.px_per_cell)[::-1]
        near = box_iou(*(grow(boxes, NEAR_FACTOR, NEAR_CELLS * cell_xy)
                         for boxes in (expected, found['box'])))
        if self._last.geometry != frame.geometry:
            return near
        masks = mask_iou(self._last.segment_map, tracks['segment_id'],
                         moved / cell_xy, frame.segment_map, found['segment_id'])
        return np.maximum(masks, near)

    def _refresh(self, places: npt.NDArray[np.intp], found: npt.NDArray[np.void]) -> None:
        """Updates tracks with the things that they were matched with."""
        tracks = self._tracks[places]
        tracks['hits'] += 1
        tracks['confirmed'] |= tracks['hits'] >= self.config.min_hits
        dt = (found['seen_s'] - tracks['seen_s'])[:, None]
        step = (found['box'] - tracks['box']).reshape(-1, 2, 2).mean(axis=1)  # centre, (P, 2)
        speed = np.divide(step, dt, out=tracks['velocity'].copy(), where=dt > 0)
        memory = np.where(tracks['hits'] == 2, 0, VELOCITY_MEMORY)[:, None]
        tracks['velocity'] = memory * tracks['velocity'] + (1 - memory) * speed
        share = 1 / np.minimum(tracks['hits'], EMBEDDING_MEMORY)[:, None]
        tracks['embedding'] = unit((1 - share) * tracks['embedding'] + share * found['embedding'])
        for name in ('segment_id', 'box', 'seen_s'):
            tracks[name] = found[name]
        self._tracks[places] = tracks

    def _start(self, found: npt.NDArray[np.void]) -> None:
        """Starts a track for each thing that has none."""
        found['track_id'] = np.arange(self._next_id, self._next_id + len(found))
        self._next_id += len(found)
        found['hits'] = found['age'] = 1
        found['confirmed'] = self.config.min_hits == 1
        self._tracks = np.concatenate([self._tracks, found])

    def _give_up(self, chosen: npt.NDArray[np.bool_]) -> None:
        self._lost += int(self._tracks['confirmed'][chosen].sum())
        self._tracks = self._tracks[~chosen]

    def _rows(self, frame: PanopticFrame, things: npt.NDArray[np.intp]) -> npt.NDArray[np.void]:
        """The frame's segments with their tracks written in."""
        rows = frame.segments.copy()
        rows['track_id'], rows['state'], rows['age'] = 0, TrackState.UNTRACKED, 0
        seen = self._tracks[self._tracks['segment_id'] > 0]
        by_segment = np.argsort(seen['segment_id'])
        place = by_segment[np.searchsorted(seen['segment_id'][by_segment],
                                           rows['segment_id'][things])]
        rows['track_id'][things] = seen['track_id'][place]
        rows['age'][things] = seen['age'][place]
        rows['state'][things] = np.where(seen['confirmed'][place], TrackState.CONFIRMED,
                                         TrackState.TENTATIVE)
        return rows
