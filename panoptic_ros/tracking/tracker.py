# SPDX-License-Identifier: Apache-2.0
"""Tracker of the things of one camera."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame, TrackState
from panoptic_ros.core.image import CameraImage
from panoptic_ros.tracking.association import associate
from panoptic_ros.tracking.camera_motion import CameraMotion, Motion, scale_at, warped
from panoptic_ros.tracking.clock import STEP_BACK_S
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import Floats
from panoptic_ros.tracking.place import Places, View, aim
from panoptic_ros.tracking.tracks import (
    TrackerStats,
    Tracks,
    detections_of,
    track_dtype,
    update_tracks,
)


class Tracker:
    """Tracker that gives the things of one camera the same ids from image to image.

    A track starts tentative, is confirmed after `min_hits` consecutive matches, coasts while it
    is not seen, and ends `max_age` seconds after its last match (`tentative_age` seconds while it
    is tentative). Ids count up from 1 and are never used twice, not even after `reset`.

    Example: a thing of 16 x 8 px that moves to the right by 4 px.

        >>> import numpy as np
        >>> from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
        >>> geometry = Geometry(image_size=(32, 64), input_size=(32, 64), stride=1)
        >>> def frame_at(x, stamp_s):
        ...     segment_map = np.zeros((32, 64), np.uint16)
        ...     segment_map[8:16, x:x + 16] = 1
        ...     segments = np.zeros(1, segment_dtype(embedding_dim=0))
        ...     segments[['segment_id', 'is_thing', 'score']] = 1, 1, 0.9
        ...     segments[['bbox_x', 'bbox_y', 'bbox_w', 'bbox_h']] = x, 8, 16, 8
        ...     return PanopticFrame(segment_map, segments, geometry, stamp_s)
        >>> tracker = Tracker(TrackerConfig(min_hits=2))
        >>> for x, stamp_s in (10, 0.0), (14, 0.1):
        ...     thing = tracker.update(frame_at(x, stamp_s)).segments[0]
        ...     print(thing['track_id'], TrackState(thing['state']).name)
        1 TENTATIVE
        1 CONFIRMED
        >>> tracker.stats
        TrackerStats(tentative=0, confirmed=1, coasting=0, lost=0)
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        """Settings; they may be replaced between two frames."""
        self.motion: Motion | None = None
        """Motion of the camera up to the last frame, camera px; None if it was not measured."""
        self._next_id = 1
        self._lost = 0
        self._tracks: Tracks = np.zeros(0, track_dtype(0))
        self._last: PanopticFrame | None = None
        self._camera = CameraMotion()
        self._places = Places()

    def reset(self) -> None:
        """Forget all tracks; the things of the next frame get new ids."""
        self._end(np.ones(len(self._tracks), bool))
        self._last = None
        self._camera.clear()

    @property
    def stats(self) -> TrackerStats:
        """Number of tracks by state after the last frame."""
        seen, confirmed = self._tracks['segment_id'] > 0, self._tracks['confirmed']
        return TrackerStats(
            tentative=int((~confirmed).sum()),
            confirmed=int((seen & confirmed).sum()),
            coasting=int((confirmed & ~seen).sum()),
            lost=self._lost,
        )

    def update(
        self, frame: PanopticFrame, image: CameraImage | None = None, view: View | None = None
    ) -> PanopticFrame:
        """Track the things of the next frame; call it for frames without segments too.

        All tracks are forgotten first if the stamp is more than STEP_BACK_S before the latest
        one (a bag that starts again), or if the embeddings have another length (another model).

        Args:
            frame: decoded frame, which is not changed. If its stamp is up to STEP_BACK_S before
                the latest one, or not finite, no time has passed since then.
            image: the frame's image, at any resolution, for `camera_motion`; without it, the
                camera's motion is not known.
            view: pose of the camera, with which tracks whose last match was located (`locate`)
                are expected where they will be seen; None if it is not known.

        Returns:
            The same frame with track_id, state and age of its things; age counts the frames since
            the track's first match, from 1. Stuff, and things with a score below
            `new_track_threshold` that match no track, are untracked and have the id 0. With
            `smooth`, class and score are the track's.
        """
        given, frame = frame, replace(frame, stamp_s=self._time_of(frame.stamp_s))
        things = np.flatnonzero(frame.segments['is_thing'])
        detections = detections_of(frame, things, self.config)
        if self._last and (
            frame.stamp_s < self._last.stamp_s or detections.dtype != self._tracks.dtype
        ):
            self.reset()
        if not self._last:
            self._tracks = np.zeros(0, detections.dtype)
        self._fit_image_size(frame)
        self._end(frame.stamp_s - self._tracks['seen_s'] > self.config.max_age)
        self.motion = self._camera.update(frame, image if self.config.camera_motion else None)
        shift = self._move_with_camera(self.motion)
        if view is not None:
            aim(self._tracks, view, frame.stamp_s)

        old = new = np.zeros(0, np.intp)
        if self._last and len(self._tracks) and len(detections):
            old, new = associate(self._tracks, detections, self._last, frame, self.config, shift)
        self._tracks['age'] += 1
        self._tracks['segment_id'] = 0
        matched = self._tracks.take(old)  # in half the time of indexing
        update_tracks(matched, detections.take(new), self.config)
        self._tracks[old] = matched
        is_missed = self._tracks['segment_id'] == 0
        self._tracks['streak'][is_missed] = 0
        self._end(
            is_missed
            & ~self._tracks['confirmed']
            & (frame.stamp_s - self._tracks['seen_s'] >= self.config.tentative_age)
        )
        is_new = detections['score'] >= self.config.new_track_threshold
        is_new[new] = False
        if is_new.any():
            self._start(detections[is_new])
        self._last = frame
        return replace(given, segments=self._tracked_segments(frame, things))

    def locate(self, frame: PanopticFrame, view: View) -> None:
        """Note where the tracks of the last frame are.

        Args:
            frame: the result of `update`, with the positions x, y, z of its segments.
            view: its pose.
        """
        self._places.note(self._tracks, frame, view)

    def _time_of(self, stamp_s: float) -> float:
        """Return the stamp, or the last frame's if the stamp is a little earlier or not finite."""
        last_s = self._last.stamp_s if self._last else 0.0
        if not math.isfinite(stamp_s) or (self._last and last_s - STEP_BACK_S <= stamp_s < last_s):
            return last_s
        return stamp_s

    def _fit_image_size(self, frame: PanopticFrame) -> None:
        """Scale all boxes if the image size changes, as the camera still shows the same things."""
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

    def _move_with_camera(self, motion: Motion | None) -> Floats:
        """Move boxes as the scene moves in the image; return their shift (x, y), (N, 2) px.

        Tracks with a place stay: where they will be seen depends on the camera's pose.
        """
        before = self._tracks['box'].copy()
        if motion is not None:
            moving = np.isnan(self._tracks['place'][:, 0])
            self._tracks['box'][moving] = warped(before[moving], motion)
            self._tracks['velocity'][moving] *= scale_at(before[moving], motion)[:, None]
        return (self._tracks['box'] - before)[:, :2]

    def _start(self, new_tracks: Tracks) -> None:
        """Add tracks to the table, with new ids."""
        new_tracks['track_id'] = np.arange(self._next_id, self._next_id + len(new_tracks))
        self._next_id += len(new_tracks)
        # With dtype, NumPy does not look for a common one, which takes longer than the copy.
        self._tracks = np.concatenate([self._tracks, new_tracks], dtype=new_tracks.dtype)

    def _end(self, is_over: npt.NDArray[np.bool_]) -> None:
        """Remove tracks, (N,), from the table."""
        if is_over.any():
            self._lost += int(self._tracks['confirmed'][is_over].sum())
            self._tracks = self._tracks[~is_over]

    def _tracked_segments(
        self, frame: PanopticFrame, things: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.void]:
        """Return the frame's segments, (S,), with the values of their tracks."""
        rows = frame.segments.copy()
        rows['track_id'], rows['state'], rows['age'] = 0, TrackState.UNTRACKED, 0
        row_of = np.zeros(int(rows['segment_id'].max(initial=0)) + 1, np.intp)  # by segment id
        row_of[rows['segment_id'][things]] = things
        seen = self._tracks[self._tracks['segment_id'] > 0]
        index = row_of[seen['segment_id']]
        for name in ('track_id', 'age', *(('class_id', 'score') if self.config.smooth else ())):
            rows[name][index] = seen[name]
        rows['state'][index] = TrackState.TENTATIVE
        rows['state'][index[seen['confirmed']]] = TrackState.CONFIRMED
        return rows
