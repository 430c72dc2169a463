# SPDX-License-Identifier: Apache-2.0
"""Velocities of tracks in metres per second, from their positions and stamps."""

import math

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame

MEMORY_S = 0.4
"""Age at which a position has lost 63 % of its weight."""

MIN_SPAN_S = 0.15
"""Least time between the first and the last position that give a velocity."""

MAX_AGE_S = 1.5
"""Time without a position after which a track starts anew."""


class _Line:
    """Weighted sums of a track's positions p at times t, relative to the last position's."""

    def __init__(self, position: npt.NDArray[np.float64], stamp_s: float) -> None:
        self.first_s = self.last_s = stamp_s
        self.position = position
        self.w = 1.0  # sum of weights
        self.t = self.tt = 0.0  # weighted sums of t and t^2
        self.p, self.tp = np.zeros(3), np.zeros(3)  # of p and t p

    def add(self, position: npt.NDArray[np.float64], stamp_s: float) -> None:
        """Add a position; the old ones lose weight with the time that has passed."""
        dt, moved = stamp_s - self.last_s, position - self.position
        # The origin moves to the new position and time: t - dt, p - moved.
        self.tp += -dt * self.p - moved * self.t + dt * moved * self.w
        self.p -= moved * self.w
        self.tt += dt * (dt * self.w - 2 * self.t)
        self.t -= dt * self.w
        fade = math.exp(-dt / MEMORY_S)
        for name in ('w', 't', 'tt', 'p', 'tp'):
            setattr(self, name, getattr(self, name) * fade)
        self.w += 1
        self.position, self.last_s = position, stamp_s

    @property
    def slope(self) -> npt.NDArray[np.float64]:
        """Velocity (3,) of the straight line; NaN before MIN_SPAN_S."""
        if self.last_s - self.first_s < MIN_SPAN_S:
            return np.full(3, np.nan)
        return (self.w * self.tp - self.t * self.p) / (self.w * self.tt - self.t**2)


class Velocities:
    """Velocities of the tracks of one camera.

    Each velocity is the slope of the line that fits the track's positions best, with weights that
    fall exponentially with age: a least-squares fit, exact for constant velocity at any stamps.
    """

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}

    def update(
        self, frame: PanopticFrame, points: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.float64]:
        """Add the positions of the next frame's tracks.

        Tracks that were not seen for MAX_AGE_S, and all after a stamp that goes back, start anew.

        Args:
            frame: the frame.
            points: (S, 3) positions of its segments, m; None for its own x, y, z, which are in
                the camera's optical frame.

        Returns:
            (S, 3) velocity of each segment, m/s, in the positions' frame; NaN for segments without
            a track or position, and for tracks that are too new.
        """
        stamp_s, rows = frame.stamp_s, frame.segments
        self._lines = {
            track_id: line
            for track_id, line in self._lines.items()
            if 0 <= stamp_s - line.last_s <= MAX_AGE_S
        }
        velocity = np.full((len(rows), 3), np.nan)
        if points is None:
            points = np.stack([rows[name] for name in 'xyz'], axis=1).astype(float)
        known = (rows['track_id'] > 0) & np.isfinite(points).all(axis=1)
        for row in np.flatnonzero(known).tolist():
            track_id, point = int(rows['track_id'][row]), points[row]
            line = self._lines.get(track_id)
            if line is None:
                self._lines[track_id] = _Line(point, stamp_s)
                continue
            if stamp_s > line.last_s:
                line.add(point, stamp_s)
            velocity[row] = line.slope
        return velocity
