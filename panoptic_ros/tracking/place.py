# SPDX-License-Identifier: Apache-2.0
"""Places of tracks in metres in a frame that does not move with the camera."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.tracking.motion import Velocities
from panoptic_ros.tracking.tracks import Tracks

Points = npt.NDArray[np.float64]

NEAREST_M = 0.1
"""Least depth of a place whose size in the image is predicted."""


class View(NamedTuple):
    """Pose and projection of a camera at the time of an image."""

    odom_from_camera: Points
    """(4, 4) transform from the camera's optical frame to one that does not move, metres."""

    project: Callable[[Points], Points]
    """Returns the pixels (2, N) of points (3, N) in the camera's optical frame, also outside the
    image; NaN behind the camera."""


class Places:
    """Velocities of the tracks of one camera relative to the ground."""

    def __init__(self) -> None:
        self._velocities = Velocities()

    def note(self, tracks: Tracks, frame: PanopticFrame, view: View) -> None:
        """Write the places of a frame's tracks into the table, in place.

        Args:
            tracks: (N,) all tracks after the frame.
            frame: the tracked frame, with the positions of its segments; NaN if not known.
            view: of the frame.
        """
        rows = frame.segments
        seen_at = np.stack([rows[name] for name in 'xyz'], axis=1).astype(float)
        place = _transformed(seen_at, view.odom_from_camera)
        velocity = self._velocities.update(frame, place)
        _, old, new = np.intersect1d(tracks['track_id'], rows['track_id'], return_indices=True)
        for name, values in (('seen_at', seen_at), ('place', place), ('speed', velocity)):
            tracks[name][old] = values[new]


def aim(tracks: Tracks, view: View, stamp_s: float) -> None:
    """Set the velocity of boxes so that they reach, at a time, where their places will be seen.

    Places move with constant velocity, or stand as long as their velocity is not known. The sides
    of a box change with the inverse of the depth. Tracks without a place, or whose place will be
    behind the camera, keep the velocity that was measured in the image.

    Args:
        tracks: (N,) all tracks, changed in place.
        view: of the image at that time.
        stamp_s: the time.
    """
    dt = stamp_s - tracks['seen_s']
    expected = tracks['place'] + np.nan_to_num(tracks['speed']) * dt[:, None]
    later = _transformed(expected, np.asarray(np.linalg.inv(view.odom_from_camera), float))
    before, after = (view.project(points.T).T for points in (tracks['seen_at'], later))
    growth = tracks['seen_at'][:, 2] / np.maximum(later[:, 2], NEAREST_M)
    move = np.column_stack([after - before, tracks['box'][:, 2:] * (growth[:, None] - 1)])
    usable = np.isfinite(move).all(axis=1) & (later[:, 2] > NEAREST_M) & (dt > 0)
    tracks['velocity'][usable] = move[usable] / dt[usable, None]


def _transformed(points: Points, transform: Points) -> Points:
    """Return points (N, 3) after a transform (4, 4)."""
    return points @ transform[:3, :3].T + transform[:3, 3]
