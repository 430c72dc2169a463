# SPDX-License-Identifier: Apache-2.0
"""The synthetic city: reproducible frames, labels and depth that match the image."""

import numpy as np
import pytest

from panoptic_ros.core.labels import decode_panoptic
from panoptic_training.data.synthetic import (
    LABELS,
    SPLITS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    VAL_SEEDS,
    SyntheticClip,
    split_of,
)
from panoptic_training.data.synthetic.camera import PinholeCamera
from panoptic_training.data.synthetic.canvas import Canvas
from panoptic_training.data.synthetic.labels import CAR
from panoptic_training.data.synthetic.light import make_light
from panoptic_training.data.synthetic.textures import crowns
from panoptic_training.data.synthetic.traffic import Mover

SIZE = (128, 256)
FIELDS = ('image', 'class_map', 'track_map', 'depth')


@pytest.fixture(scope='module')
def frames():
    """Return one frame of each of 40 streets."""
    return [SyntheticClip(seed, SIZE).frame(7 * seed) for seed in range(40)]


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


def test_frames_do_not_depend_on_the_order_of_access():
    in_order = SyntheticClip(5, SIZE)
    sequence = [frame for frame, _ in zip(in_order, range(4), strict=False)]
    random_access = SyntheticClip(5, SIZE)
    for i in (3, 0, 2, 1, 3):
        assert same(random_access.frame(i), sequence[i])
        assert sequence[i].frame_index == i
        assert sequence[i].stamp_s == pytest.approx(i / in_order.fps)
    assert same(random_access[2], sequence[2])


def test_seeds_and_frames_differ():
    frames = [SyntheticClip(seed, SIZE).frame(i) for seed in (1, 2) for i in (0, 9)]
    assert len({frame.image.tobytes() for frame in frames}) == 4


@pytest.mark.parametrize(
    ('size', 'why'),
    [
        ((128, 256), 'half the training size'),
        ((90, 160), '16:9, like the demo'),
        ((65, 47), 'odd and taller than wide'),
    ],
)
def test_shapes_and_types(size, why):
    frame = SyntheticClip(3, size).frame(11)
    assert frame.image.shape == (*size, 3) and frame.image.dtype == np.uint8, why
    for name, dtype in (('class_map', np.uint8), ('track_map', np.int32), ('depth', np.float32)):
        value = getattr(frame, name)
        assert value.shape == size and value.dtype == dtype, (why, name)
    assert frame.intrinsics.shape == (3, 3)


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        ({'seed': -1}, 'seed -1'),
        ({'seed': 1, 'size': (16, 64)}, r'size \(16, 64\)'),
        ({'seed': 1, 'fps': 0.0}, 'fps 0.0'),
    ],
)
def test_bad_arguments_are_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        SyntheticClip(**arguments)


def test_a_negative_frame_is_refused():
    with pytest.raises(ValueError, match='-1'):
        SyntheticClip(1, SIZE).frame(-1)


def test_splits_are_disjoint_and_named():
    assert not set(VAL_SEEDS) & set(TEST_SEEDS)
    assert not set(TRAIN_SEEDS) & (set(VAL_SEEDS) | set(TEST_SEEDS))
    for name, seeds in SPLITS.items():
        assert split_of(seeds[0]) == split_of(seeds[-1]) == name
    with pytest.raises(ValueError, match='belongs to no split'):
        split_of(TEST_SEEDS.stop)


def test_stuff_comes_before_things():
    assert LABELS.is_thing.tolist() == sorted(LABELS.is_thing.tolist())
    assert {'car', 'person', 'cyclist'} == {
        label.name for label in LABELS.labels if label.is_thing
    }


def test_track_ids_are_on_things_and_only_there(frames):
    for frame in frames:
        assert frame.class_map.max() < len(LABELS)
        np.testing.assert_array_equal(frame.track_map > 0, LABELS.is_thing[frame.class_map])


def test_each_thing_is_one_segment_of_the_panoptic_map(frames):
    for frame in frames:
        class_id, instance_id = decode_panoptic(frame.panoptic_map(), 1000)
        np.testing.assert_array_equal(class_id, frame.class_map)
        pairs = np.unique(np.stack([instance_id, frame.track_map]).reshape(2, -1), axis=1)
        tracks = np.unique(frame.track_map)
        # Numbered without a gap in the order of the track ids.
        np.testing.assert_array_equal(pairs, [np.arange(len(tracks)) + (tracks[0] > 0), tracks])


@pytest.mark.parametrize('seed', [0, 3, 14, 31])
def test_a_track_keeps_its_class_and_moves_smoothly(seed):
    clip = SyntheticClip(seed, SIZE, fps=20)
    classes, previous, compared = {}, {}, 0
    for i in range(0, 40):
        frame = clip.frame(i)
        current = {}
        for track in np.unique(frame.track_map)[1:].tolist():
            mask = frame.track_map == track
            kinds = np.unique(frame.class_map[mask])
            assert len(kinds) == 1 and classes.setdefault(track, kinds[0]) == kinds[0]
            current[track] = mask
            before = previous.get(track)
            if before is None or mask.sum() < 150:
                continue
            # Steps grow as a thing comes near: they are at most a third of its size.
            rows, columns = np.nonzero(mask)
            old_rows, old_columns = np.nonzero(before)
            step = np.hypot(rows.mean() - old_rows.mean(), columns.mean() - old_columns.mean())
            extent = max(np.ptp(rows), np.ptp(columns)) + 1
            assert step < 0.35 * extent + 2, (i, track, step, extent)
            compared += 1
        previous = current
    assert compared > 20


@pytest.mark.parametrize(
    ('camera_z', 'expected_z', 'turn'),
    [
        (0.0, 10.0, 0),
        (30.0, -20.0, 0),  # behind the camera, but still in its window
        (36.0, 84.0, -1),  # 26 m behind: it reappears ahead, as another car
        (146.0, 84.0, -2),
    ],
)
def test_a_parked_car_reappears_as_another(camera_z, expected_z, turn):
    _, z, _, turns, _ = Mover(CAR, 4.0, 10.0, 0.0, 0.0).at(1.0, camera_z)
    assert (z, turns) == (pytest.approx(expected_z), turn)


def test_ids_are_new_along_a_street():
    clip = SyntheticClip(8, SIZE, fps=1)  # 9 m per frame, so 110 m of street in 12 frames
    frames_of = {}
    for i in range(40):
        for track in np.unique(clip.frame(i).track_map)[1:].tolist():
            frames_of.setdefault(track, []).append(i)
    spans = [frames[-1] - frames[0] for frames in frames_of.values()]
    # Only traffic in the camera's lane stays in view.
    assert len(frames_of) > 25 and np.median(spans) < 8


def ground_plane(frame):
    """Return (a, b, c) with 1 / depth = a u + b v + c, fitted to the pixels of the road."""
    road = frame.class_map == LABELS.names.index('road')
    v, u = np.nonzero(road)
    inverse = 1 / frame.depth[road].astype(float)
    columns = np.stack([u, v, np.ones_like(u)], axis=1).astype(float)
    plane, *_ = np.linalg.lstsq(columns, inverse, rcond=None)
    np.testing.assert_allclose(columns @ plane, inverse, atol=2e-4)  # the road is flat
    return plane


def test_objects_on_the_ground_are_nearer_than_the_ground_behind_them(frames):
    v, u = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    for frame in frames:
        assert frame.depth.min() > 0 and np.isfinite(frame.depth).all()
        a, b, c = ground_plane(frame)
        standing = ~np.isin(frame.class_map, LABELS.class_ids(['road', 'pavement', 'sky']))
        # The round base of an object may reach 15 cm and 1.5 pixels into the ground.
        sunk = b * (1.5 + 0.15 * frame.intrinsics[0, 0] / frame.depth)
        behind = np.maximum(a * u + b * v + c - sunk, 1 / 160)
        assert (1 / frame.depth >= behind - 1e-4)[standing].all()


def test_sky_is_farthest(frames):
    sky = LABELS.names.index('sky')
    for frame in frames:
        assert (frame.depth[frame.class_map == sky] == 1000).all()
        assert frame.depth[frame.class_map != sky].max() < 200


def test_a_known_point_is_projected_to_its_pixel():
    camera = PinholeCamera((101, 201), 100.0, (0.5, 1.5), 0.0, 0.0, 0.0, 0.0)
    # 1 m right of the camera and 1.5 m under it, 10 m ahead
    pixel = camera.to_pixels(camera.to_camera(np.array([[1.5, 0.0, 10.0]])))[0]
    np.testing.assert_allclose(pixel, (100 + 10, 50 + 15))
    np.testing.assert_allclose(camera.intrinsics @ (1, 1.5, 10) / 10, (110, 65, 1))


@pytest.mark.parametrize(
    ('yaw', 'pitch', 'roll', 'point', 'expected'),
    [
        (0.1, 0.0, 0.0, (np.sin(0.1), 0.0, np.cos(0.1)), (0, 0)),  # looks right
        (0.0, 0.1, 0.0, (0.0, -np.sin(0.1), np.cos(0.1)), (0, 0)),  # looks down
        (0.0, 0.0, 0.1, (1.0, 0.0, 1.0), (np.cos(0.1), -np.sin(0.1))),  # rolls to the right
    ],
)
def test_camera_angles(yaw, pitch, roll, point, expected):
    camera = PinholeCamera((101, 201), 100.0, (0.0, 2.0), yaw, pitch, roll, 0.0)
    points = camera.to_camera(np.array([point]) + np.array([0, 2, 0]))
    offset = (camera.to_pixels(points)[0] - camera.centre) / 100
    np.testing.assert_allclose(offset, expected, atol=1e-12)


def test_depth_and_intrinsics_give_the_road_at_the_cameras_height():
    clip = SyntheticClip(8, SIZE)
    frame = clip.frame(40)
    camera, _ = clip.camera_at(40 / clip.fps)
    v, u = np.nonzero(frame.class_map == LABELS.names.index('road'))
    rays = np.linalg.inv(frame.intrinsics) @ np.stack([u, v, np.ones_like(u)])
    points = (rays * frame.depth[v, u]).T
    street = points @ camera.rotation + camera.offset
    np.testing.assert_allclose(street[:, 1], 0, atol=0.02)


@pytest.mark.parametrize('seed', [1001002, 1001005])  # a bend and a straight road
def test_poses_bring_standing_points_to_their_place_in_a_later_frame(seed):
    clip, rng = SyntheticClip(seed, (256, 512)), np.random.default_rng(0)
    before, after = clip.frame(20), clip.frame(25)
    move = np.linalg.inv(clip.pose_at(after.stamp_s)) @ clip.pose_at(before.stamp_s)
    assert np.linalg.norm(move[:3, 3]) > 1, 'the camera drives'
    v, u = rng.integers(128, 256, 4000), rng.integers(0, 512, 4000)
    depth, back = before.depth[v, u], np.linalg.inv(before.intrinsics)
    points = move[:3, :3] @ (back @ (np.stack([u, v, np.ones(4000)]) * depth)) + move[:3, 3:]
    pixels = before.intrinsics @ points / points[2]
    x, y = np.rint(pixels[:2]).astype(int)
    seen = (points[2] > 1) & (depth < 50) & (x >= 0) & (x < 512) & (y >= 0) & (y < 256)
    seen &= before.track_map[v, u] == 0
    x, y = x[seen], y[seen]
    error = np.abs(after.depth[y, x] / points[2, seen] - 1)[after.track_map[y, x] == 0]
    assert len(error) > 300 and np.median(error) < 0.01


def test_trees_are_cut_out_at_every_size():
    """OpenCV reads an array of 4 x 1 as a scalar, so small patches need care."""
    camera = PinholeCamera((64, 64), 60.0, (0.0, 1.5), 0.0, 0.0, 0.0, 0.0)
    canvas = Canvas(camera, make_light(np.random.default_rng(0)))
    for wide in range(1, 9):
        for u in np.linspace(-4, 67, 40):
            canvas.pixels[:] = 0
            canvas.cut_out(np.array([u, 2.0]), (wide, 4.0), crowns()[0], np.ones(3), 9.0, 77)
            assert set(np.unique(canvas.pixels[..., 3])) <= {0, 77}


def test_things_are_large_enough_to_be_recognised(frames):
    for frame in frames:
        areas = np.bincount(frame.track_map.ravel())[1:]
        assert areas[areas > 0].min(initial=SIZE[0] * SIZE[1]) >= 70 / 4


def test_statistics_over_streets(frames):
    share = np.array(
        [np.bincount(frame.class_map.ravel(), minlength=len(LABELS)) for frame in frames]
    ) / (SIZE[0] * SIZE[1])
    occurrence = dict(zip(LABELS.names, (share > 0).mean(axis=0), strict=True))
    assert all(occurrence[name] > 0.95 for name in ('road', 'building', 'vegetation', 'sky'))
    assert all(occurrence[name] > 0.4 for name in LABELS.names if name != 'cyclist'), occurrence
    assert occurrence['cyclist'] > 0.15
    counts = [len(np.unique(frame.track_map)) - 1 for frame in frames]
    assert 4 < np.mean(counts) < 12 and max(counts) < 30
    crowded = sum(_touching(frame.track_map) for frame in frames)
    assert crowded > len(frames) / 3  # frames in which two things touch


def _touching(tracks):
    left, right = tracks[:, :-1], tracks[:, 1:]
    return bool(((left != right) & (left > 0) & (right > 0)).any())
