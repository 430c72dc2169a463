# SPDX-License-Identifier: Apache-2.0
"""Gives things the same id from image to image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame, TrackState
from panoptic_ros.tracking.association import associate
from panoptic_ros.tracking.clock import STEP_BACK_S
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.tracks import TrackerStats, Tracks, describe, refresh, track_dtype


class Tracker:
    """Follows the things of one camera.

    A track starts tentative, is confirmed after `min_hits` images in a row, coasts while it is
    not seen, and is given up `max_age` seconds after it was last seen (`tentative_age` while
    tentative). Ids count up and are never given twice, not even after `reset`.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        """May be exchanged between two frames."""
        self._next_id = 1
        self._lost = 0
        self._tracks: Tracks = np.zeros(0, track_dtype(0))
        self._last: PanopticFrame | None = None

    def reset(self) -> None:
        """Forgets all tracks; what comes next is new."""
        self._give_up(np.ones(len(self._tracks), bool))
        self._last = None

    @property
    def stats(self) -> TrackerStats:
        """Counts for people and diagnostics."""
        seen, confirmed = self._tracks['segment_id'] > 0, self._tracks['confirmed']
        return TrackerStats(
            active=int((seen & confirmed).sum()),
            new=int((~confirmed).sum()),
            coasting=int((confirmed & ~seen).sum()),
            lost=self._lost,
        )

    def update(self, frame: PanopticFrame) -> PanopticFrame:
        """Takes the next frame, also when there is nothing in it.

        A stamp more than STEP_BACK_S before the latest one (a bag that starts again) or another
        embedding size (a new model) forgets all tracks first.

        Args:
            frame: as decoded; it is not changed. If its stamp is less than STEP_BACK_S before
                the latest one, or not finite, no time has passed since that.

        Returns:
            The same frame with track_id, state and age of its things; age counts images since
            the track's first, from 1. Stuff, and things too weak to start a track, are untracked
            with id 0. With `smooth` class and score are the track's.
        """
        given, frame = frame, replace(frame, stamp_s=self._time_of(frame.stamp_s))
        things = np.flatnonzero(frame.segments['is_thing'])
        found = describe(frame, things, self.config)
        if self._last and (
            frame.stamp_s < self._last.stamp_s or found.dtype != self._tracks.dtype
        ):
            self.reset()
        if not self._last:
            self._tracks = np.zeros(0, found.dtype)
        self._fit_image_size(frame)
        self._give_up(frame.stamp_s - self._tracks['seen_s'] > self.config.max_age)

        old = new = np.zeros(0, np.intp)
        if self._last and len(self._tracks) and len(found):
            old, new = associate(self._tracks, found, self._last, frame, self.config)
        self._tracks['age'] += 1
        self._tracks['segment_id'] = 0
        seen = self._tracks[old]
        refresh(seen, found[new], self.config)
        self._tracks[old] = seen
        missed = self._tracks['segment_id'] == 0
        self._tracks['streak'][missed] = 0
        self._give_up(
            missed
            & ~self._tracks['confirmed']
            & (frame.stamp_s - self._tracks['seen_s'] >= self.config.tentative_age)
        )
        rest = np.delete(found, new)
        self._start(rest[rest['score'] >= self.config.new_track_threshold])
        self._last = frame
        return replace(given, segments=self._rows(frame, things))

    def _time_of(self, stamp_s: float) -> float:
        """The stamp, or the last image's time if the stamp is a little earlier or not finite."""
        last_s = self._last.stamp_s if self._last else 0.0
        if not math.isfinite(stamp_s) or (self._last and last_s - STEP_BACK_S <= stamp_s < last_s):
            return last_s
        return stamp_s

    def _fit_image_size(self, frame: PanopticFrame) -> None:
        """Brings boxes to the frame's size: a camera that changes it still shows the same."""
        if not self._last or self._last.geometry.image_size == frame.geometry.image_size:
            return
        y, x = (
            new / old
            for new, old in zip(
                frame.geometry.image_size, self._last.geometry.image_size, strict=True
            )
        )
        self._tracks['box'] *= [x, y, x, y]
        self._tracks['velocity'] *= [x, y, x, y]

    def _start(self, found: Tracks) -> None:
        """Starts a track for each thing that has none."""
        if not len(found):
            return
        found['track_id'] = np.arange(self._next_id, self._next_id + len(found))
        self._next_id += len(found)
        self._tracks = np.concatenate([self._tracks, found])

    def _give_up(self, chosen: npt.NDArray[np.bool_]) -> None:
        if chosen.any():
            self._lost += int(self._tracks['confirmed'][chosen].sum())
            self._tracks = self._tracks[~chosen]

    def _rows(self, frame: PanopticFrame, things: npt.NDArray[np.intp]) -> npt.NDArray[np.void]:
        """The frame's segments with their tracks written in."""
        rows = frame.segments.copy()
        rows['track_id'], rows['state'], rows['age'] = 0, TrackState.UNTRACKED, 0
        place = np.zeros(int(rows['segment_id'].max(initial=0)) + 1, np.intp)  # by segment id
        place[rows['segment_id'][things]] = things
        seen = self._tracks[self._tracks['segment_id'] > 0]
        place = place[seen['segment_id']]
        names = ('track_id', 'age', *(('class_id', 'score') if self.config.smooth else ()))
        for name in names:
            rows[name][place] = seen[name]
        rows['state'][place] = np.where(
            seen['confirmed'], TrackState.CONFIRMED, TrackState.TENTATIVE
        )
        return rows
