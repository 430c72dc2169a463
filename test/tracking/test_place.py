# SPDX-License-Identifier: Apache-2.0
"""Tracks that are expected where their places in metres will be seen."""

import numpy as np
import pytest
from disc_frames import Disc, make_frame

from panoptic_ros.tracking import Tracker, TrackerConfig, View
from panoptic_ros.tracking.place import Places, aim
from panoptic_ros.tracking.tracks import detections_of, predict, update_tracks

FOCAL_PX, CENTRE = 100.0, np.array([100.0, 50.0])
SIZE = (100, 200)
CONFIG = TrackerConfig(min_hits=1)


def project(points):
    """Return pixels (2, N) of a pinhole camera, NaN behind it."""
    with np.errstate(all='ignore'):
        pixels = FOCAL_PX * points[:2] / points[2] + CENTRE[:, None]
    return np.where(points[2] > 0, pixels, np.nan)


def pose(x=0.0, z=0.0, yaw=0.0):
    """Return the pose of a camera at x, z in metres that is turned to the right, radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, 0, sin, x], [0, 1, 0, 0], [-sin, 0, cos, z], [0, 0, 0, 1]])


def seen(stamp_s, camera, *places, radius_m=0.2):
    """Return the frame of things at places in the odometry's frame, and its view."""
    inside = [np.linalg.inv(camera) @ [*place, 1] for place in places]
    discs = [
        Disc(*(FOCAL_PX * p[:2] / p[2] + CENTRE), radius=FOCAL_PX * radius_m / p[2])
        for p in inside
    ]
    frame = make_frame(stamp_s, *discs, size=SIZE, embedding_dim=0)
    rows = frame.segments
    for axis, name in enumerate('xyz'):
        rows[name] = np.array(inside)[rows['segment_id'] - 1, axis]
    return frame, View(camera, project)


def follow(frames, with_view):
    """Return the track ids in each frame."""
    tracker, ids = Tracker(CONFIG), []
    for frame, view in frames:
        tracked = tracker.update(frame, view=view if with_view else None)
        if with_view:
            tracker.locate(tracked, view)
        ids.append(tracked.segments['track_id'].tolist())
    return ids


def tracks_of(frame, view):
    """Return the table of new tracks with their places."""
    tracks = detections_of(frame, np.arange(len(frame.segments)), CONFIG)
    tracks['track_id'] = frame.segments['track_id'] = tracks['segment_id']
    Places().note(tracks, frame, view)
    return tracks


@pytest.mark.parametrize('moved', [pose(), pose(0.3, 0.5, 0.1), pose(-0.2, -1.0, -0.05)])
def test_a_standing_thing_is_expected_where_and_as_large_as_it_will_be_seen(moved):
    places = [(-1, 0.2, 6), (1, -0.5, 8), (0.3, 0, 10)]
    before = seen(0.0, pose(2, 3, 0.2), *(pose(2, 3, 0.2)[:3] @ [*p, 1] for p in places))
    camera = pose(2, 3, 0.2) @ moved
    tracks = tracks_of(*before)
    old = tracks['box'].copy()
    aim(tracks, View(camera, project), 0.1)
    for box, old_box, place in zip(predict(tracks, 0.1), old, places, strict=True):
        after = np.linalg.inv(moved) @ [*place, 1]
        shift = [FOCAL_PX * (after[axis] / after[2] - place[axis] / place[2]) for axis in (0, 1)]
        np.testing.assert_allclose(box[:2], old_box[:2] + shift, atol=1e-4)
        np.testing.assert_allclose(box[2:], old_box[2:] * place[2] / after[2], atol=1e-4)


def test_a_thing_that_moves_with_the_camera_is_expected_beside_it():
    frames = [seen(t / 10, pose(z=t / 5), (0.5, 0, 2.0 + t / 5)) for t in range(8)]
    tracker = Tracker(CONFIG)
    for frame, view in frames:
        tracked = tracker.update(frame, view=view)
        tracker.locate(tracked, view)
        assert tracked.segments['track_id'].tolist() == [1]
    tracks = tracker._tracks.copy()
    aim(tracks, View(pose(z=8 / 5), project), 0.8)
    np.testing.assert_allclose(predict(tracks, 0.8), tracks['box'], atol=0.01)


@pytest.mark.parametrize(('with_view', 'same'), [(True, True), (False, False)])
def test_ids_survive_a_move_of_the_camera_by_the_distance_of_things(with_view, same):
    row = [(x, 0, 4) for x in (-1.0, 0.0, 1.0)]
    ids = follow([seen(t / 4, pose(x=x), *row) for t, x in enumerate([0, 1, 0, -1])], with_view)
    assert (ids == [[1, 2, 3]] * 4) is same


def test_tracks_with_a_place_do_not_move_with_the_optical_flow_too():
    row = [(x, 0, 4) for x in (-1.0, 0.0, 1.0)]
    tracker, ids = Tracker(CONFIG), []
    # The motion that the flow finds, of a camera that moves by 1 m.
    tracker._camera.update = lambda frame, image: np.array([[1, 0, -25], [0, 1, 0], [0, 0, 1.0]])
    for t in range(3):
        frame, view = seen(t / 4, pose(x=t), *row)
        tracked = tracker.update(frame, view=view)
        tracker.locate(tracked, view)
        ids.append(tracked.segments['track_id'].tolist())
    assert ids == [[1, 2, 3]] * 3


def test_a_hidden_thing_is_expected_where_its_place_is():
    row = [(x, 0, 4) for x in (-1.0, 0.0, 1.0)]
    views = [pose(), pose(), pose(x=0.5), pose(x=1.0)]
    frames = [
        seen(t / 4, camera, *(row if t in (0, 1, 3) else row[:2]))
        for t, camera in enumerate(views)
    ]
    assert follow(frames, True)[-1] == [1, 2, 3]


def test_a_track_without_a_usable_place_keeps_its_velocity():
    frame, view = seen(0.0, pose(), (-1, 0, 4), (1, 0, 4), (0.01, 0, 0.5), radius_m=0.08)
    frame.segments['z'][0] = np.nan  # no depth
    tracks = tracks_of(frame, view)
    tracks['velocity'] = 7.0
    aim(tracks, View(pose(z=0.45), project), 0.0)  # no time has passed
    assert (tracks['velocity'] == 7).all()
    aim(tracks, View(pose(z=0.45), project), 0.1)
    assert (tracks['velocity'] == 7).all(axis=1).tolist() == [True, False, True]
    aim(tracks, View(pose(z=9), project), 0.1)  # all are behind the camera
    assert (tracks['velocity'][0] == 7).all() and np.isfinite(tracks['velocity']).all()


def test_a_thing_that_leaves_the_image_makes_room_for_the_next():
    row = [(x, 0, 4) for x in (-1.0, 1.0)]
    frames = [seen(0.0, pose(), *row), seen(0.1, pose(), *row), seen(0.2, pose(x=2), row[1])]
    assert follow(frames, True)[-1] == [2]
    assert follow(frames, False)[-1] == [1]


def test_a_match_without_a_position_forgets_the_place():
    frame, view = seen(0.0, pose(), (0, 0, 4))
    tracks = tracks_of(frame, view)
    assert np.isfinite(tracks['place']).all()
    later = detections_of(seen(0.1, pose(), (0, 0, 4))[0], np.arange(1), CONFIG)
    update_tracks(tracks, later, CONFIG)
    assert np.isnan(tracks['place']).all() and np.isnan(tracks['speed']).all()


def test_places_far_from_the_origin_are_as_exact():
    """Frames may be in UTM coordinates of millions of metres."""
    far = pose(x=5e6, z=4e6)
    frames = [seen(t / 10, far @ pose(z=t / 10), (5e6, 0, 4e6 + 5)) for t in range(6)]
    tracker = Tracker(CONFIG)
    for frame, view in frames:
        tracker.locate(tracker.update(frame, view=view), view)
    assert np.abs(tracker._tracks['speed']).max() < 1e-3
