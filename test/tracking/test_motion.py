# SPDX-License-Identifier: Apache-2.0
"""Velocities of tracks against a weighted fit over all positions."""

import numpy as np
import pytest

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.tracking.motion import MAX_AGE_S, MEMORY_S, MIN_SPAN_S, Velocities

GEOMETRY = Geometry((8, 8), (8, 8), 1)


def frame_at(stamp_s, points):
    """A frame of tracks and their positions."""
    rows = np.zeros(len(points), segment_dtype(0))
    rows['track_id'] = list(points)
    for row, point in zip(rows, points.values(), strict=True):
        row['x'], row['y'], row['z'] = point
    return PanopticFrame(np.zeros((8, 8), np.uint16), rows, GEOMETRY, stamp_s)


def test_velocity_is_the_slope_of_the_weighted_fit():
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.uniform(0.02, 0.3, 40)) + 1.7e9
    points = rng.normal(0, 1, (40, 3)).astype(np.float32) + 20
    velocities = Velocities()
    for i, (stamp, point) in enumerate(zip(stamps, points, strict=True)):
        (velocity,) = velocities.update(frame_at(stamp, {3: point}))
        if stamp - stamps[0] < MIN_SPAN_S:
            assert np.isnan(velocity).all()
            continue
        t = stamps[: i + 1] - stamp
        weight = np.exp(t / MEMORY_S)
        for axis in range(3):
            slope, _ = np.polyfit(t, points[: i + 1, axis].astype(float), 1, w=np.sqrt(weight))
            assert velocity[axis] == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_constant_velocity_is_exact_at_uneven_stamps_and_each_track_has_its_own():
    velocities = Velocities()
    for stamp in (0.0, 0.1, 0.15, 0.4, 0.41, 0.7):
        points = {1: (3 * stamp, 1, 5 - 2 * stamp), 2: (0, -stamp, 9)}
        result = velocities.update(frame_at(stamp, points))
    np.testing.assert_allclose(result, [(3, 0, -2), (0, -1, 0)], atol=1e-5)


def test_a_track_that_was_away_or_a_clock_that_goes_back_starts_anew():
    velocities = Velocities()
    for stamp in (0.0, 0.2, 0.4):
        velocity = velocities.update(frame_at(stamp, {1: (stamp, 0, 1)}))
    np.testing.assert_allclose(velocity[0], (1, 0, 0), atol=1e-6)
    missed = velocities.update(frame_at(0.6, {}))
    assert missed.shape == (0, 3)
    away = 0.4 + MAX_AGE_S
    np.testing.assert_allclose(velocities.update(frame_at(away, {1: (away, 0, 1)}))[0], (1, 0, 0))
    late = away + MAX_AGE_S + 0.1
    assert np.isnan(velocities.update(frame_at(late, {1: (9, 0, 1)}))).all()
    assert np.isnan(velocities.update(frame_at(1.0, {1: (9, 0, 1)}))).all()


def test_segments_without_track_or_position_and_repeated_stamps():
    velocities = Velocities()
    for stamp in (0.0, 0.2, 0.2, 0.4):
        points = {0: (stamp, 0, 1), 5: (np.nan, 0, 1), 6: (stamp, 0, 1)}
        velocity = velocities.update(frame_at(stamp, points))
    assert np.isnan(velocity[:2]).all()
    np.testing.assert_allclose(velocity[2], (1, 0, 0), atol=1e-6)
