# SPDX-License-Identifier: Apache-2.0
"""Replay of recordings with depth and camera_info: positions and boxes in metres."""

import numpy as np
import pytest

pytest.importorskip('matplotlib', reason='reports are drawn by it')

from replay_bags import (
    BALL,
    BOX,
    BOX_M,
    FOCAL,
    IMAGE,
    START_NS,
    STEP_NS,
    ball_m,
    camera_info,
    depth_of,
    drive,
    drive_in_metres,
    image,
    scene,
    write_bag,
)
from replay_runs import run, same_results, summary

from panoptic_ros.core.frame import read_instances
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.diagnostics import Level
from panoptic_ros.node.markers import CUBE
from panoptic_ros.node.node_health import read_health
from panoptic_ros.recordings.bag import Bag


def messages(folder, topic) -> list:
    with Bag(folder / 'bag') as bag:
        return [record.message for record in bag.records([topic])]


def tables(folder, topic='/panoptic/instances') -> dict[int, np.ndarray]:
    """Return the instance table of each image by stamp."""
    return {header_stamp_ns(one): read_instances(one) for one in messages(folder, topic)}


def position(rows, class_id) -> np.ndarray:
    (row,) = rows[rows['class_id'] == class_id]
    return np.array([row['x'], row['y'], row['z']])


def expected(class_id, distance) -> np.ndarray:
    """Return the median point of ball or box, a rectangle at a distance: of its inner pixels."""
    left = {BALL: 16, BOX: 80}[class_id]
    u, v = np.arange(left, left + 32)[2:-2], np.arange(16, 48)[2:-2]
    return distance * np.array([(np.median(u) - 64) / FOCAL, (np.median(v) - 32) / FOCAL, 1])


@pytest.mark.parametrize('is_compressed', [False, True])
def test_positions_are_those_of_the_depth_with_the_stamp_of_the_image(
    tiny_model, tmp_path, is_compressed
):
    bag = write_bag(tmp_path / 'bag', drive_in_metres(is_compressed=is_compressed))
    out = tmp_path / 'out'
    assert run(bag, '--model', tiny_model, '-o', out) == 0
    found = tables(out)
    assert list(found) == [START_NS + i * STEP_NS for i in range(8)]
    for i, rows in enumerate(found.values()):
        for class_id, distance in ((BALL, ball_m(i)), (BOX, BOX_M)):
            if class_id == BALL and i % 4 == 3:  # painted otherwise
                continue
            assert position(rows, class_id) == pytest.approx(
                expected(class_id, distance), abs=0.02
            )
    values = summary(out)['cameras']['camera']
    assert values['depth'] == {'used': 8, 'mismatches': {}}
    assert set(values['beside'].values()) == {
        '/camera/camera_info',
        '/camera/depth/compressedDepth' if is_compressed else '/camera/depth',
    }


def test_boxes_and_diagnostics_are_written_and_every_run_gives_the_same(
    tiny_model, tmp_path, capsys
):
    bag = write_bag(tmp_path / 'bag', drive_in_metres())
    first, second = tmp_path / 'first', tmp_path / 'second'
    for out in (first, second):
        assert run(bag, '--model', tiny_model, '-o', out) == 0
    said = capsys.readouterr().out
    assert 'depth: /camera/depth' in said
    assert '8 images with depth' in said
    assert 'left out /camera/depth' not in said
    assert same_results(first, second)
    boxes = [m for m in messages(first, '/panoptic/markers')[0].markers if m.type == CUBE]
    assert sorted(round(m.pose.position.z, 1) for m in boxes) == [1.5, 3.0]
    assert not messages(first, '/panoptic/points')  # too large for every image
    status = read_health(messages(first, '/diagnostics')[-1]).statuses['depth/camera']
    assert status.level == Level.OK
    assert int(status.values['used']) >= 1
    assert float(status.values['age s']) >= 0


def test_a_part_behind_the_only_camera_info_has_metres(tiny_model, tmp_path):
    bag = write_bag(tmp_path / 'bag', drive_in_metres())
    out = tmp_path / 'out'
    assert run(bag, '--model', tiny_model, '--start', 0.35, '-o', out) == 0
    found = tables(out)
    assert list(found) == [START_NS + i * STEP_NS for i in range(4, 8)]
    assert position(found[START_NS + 4 * STEP_NS], BALL)[2] == pytest.approx(ball_m(4))


def test_topics_elsewhere_are_named(tiny_model, tmp_path, capsys):
    """Two cameras; only one of them has depth, in another namespace."""

    def content():
        for topic, kind, time_ns, value in drive_in_metres(namespace='/front'):
            names = {'/front/depth': '/sensor/registered', '/front/camera_info': '/sensor/info'}
            yield names.get(topic, topic), kind, time_ns, value
            if topic == '/front/image_raw':
                yield '/rear/image_raw', IMAGE, time_ns + 1, value

    bag = write_bag(tmp_path / 'bag', content())
    flags = ['--depth', 'front=/sensor/registered', '--camera-info', 'front=/sensor/info']
    assert run(bag, '--model', tiny_model, *flags, '-o', tmp_path / 'out') == 0
    front, rear = (
        tables(tmp_path / 'out', f'/{name}/panoptic/instances') for name in ('front', 'rear')
    )
    assert position(front[START_NS], BALL)[2] == pytest.approx(ball_m(0))
    assert np.isnan(rear[START_NS]['z']).all()
    assert not run(bag, '--model', tiny_model, '-o', tmp_path / 'without')
    said = capsys.readouterr().out
    assert 'left out /sensor/registered: it holds depth (16UC1); --depth uses it' in said
    assert 'depth' not in summary(tmp_path / 'out')['cameras']['rear']


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--depth', '/camera/dept'], 'no topic /camera/dept; did you mean /camera/depth?'),
        (['--depth', '/camera/camera_info'], 'holds sensor_msgs/msg/CameraInfo, expected'),
        (['--camera-info', '/camera/depth'], 'holds sensor_msgs/msg/Image, expected'),
        (['--depth', 'left=/camera/depth'], 'the cameras are camera'),
    ],
)
def test_wrong_topics_are_refused(tiny_model, tmp_path, capsys, flags, words):
    bag = write_bag(tmp_path / 'bag', drive_in_metres(2))
    assert run(bag, '--model', tiny_model, *flags, '-o', tmp_path / 'out') == 2
    assert words in capsys.readouterr().err


def test_depth_that_does_not_fit_is_counted(tiny_model, tmp_path, capsys):
    def content():
        yield from drive(4, with_gt=False)
        for i in range(4):
            stamp = START_NS + i * STEP_NS
            if i == 1:  # without a camera_info until here
                yield '/camera/depth', IMAGE, stamp, image(depth_of(i)[..., None], stamp, '16UC1')
            if i == 3:  # far from any image
                late = stamp + 70_000_000
                yield '/camera/depth', IMAGE, late, image(depth_of(i)[..., None], late, '16UC1')

    bag = write_bag(tmp_path / 'bag', sorted(content(), key=lambda entry: entry[2]))
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    depth = summary(tmp_path / 'out')['cameras']['camera']['depth']
    # Before the first depth arrives, there is nothing to miss.
    assert depth == {'used': 0, 'mismatches': {'no camera_info': 1, 'none near the stamp': 2}}
    assert 'without: 1 no camera_info' in capsys.readouterr().out


def test_rectified_images_have_the_matrix_of_rectified_images(tiny_model, tmp_path):
    def content():
        stamp = START_NS
        info = camera_info(stamp)
        info.k[:] = [50, 0, 60, 0, 50, 30, 0, 0, 1]
        info.d[0] = -0.3
        yield '/camera/camera_info', 'sensor_msgs/msg/CameraInfo', stamp, info
        yield '/camera/depth', IMAGE, stamp, image(depth_of(0)[..., None], stamp, '16UC1')
        yield '/camera/image_rect', IMAGE, stamp, image(scene(0), stamp)

    bag = write_bag(tmp_path / 'bag', content())
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    (rows,) = tables(tmp_path / 'out').values()
    assert position(rows, BALL) == pytest.approx(expected(BALL, ball_m(0)), abs=0.02)
