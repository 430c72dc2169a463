# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag to the running node."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
pytest.importorskip('matplotlib', reason='reports are drawn by it')

from replay_bags import (
    GT_TOPIC,
    IMAGE,
    START_NS,
    STEP_NS,
    drive,
    drive_in_metres,
    image,
    scene,
    write_bag,
)
from shared_memory import left_by

from panoptic_ros.core.frame import read_instances
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.replay.frame_records import read_records
from panoptic_ros.replay.live_scores import DROPPED
from panoptic_ros.ros.processes import free_domain_id
from panoptic_ros.ros.replay_live import _node_flags, _reasons

TIMEOUT_S = 240


def run(*flags, **more: str) -> tuple[int, str, str]:
    """Run the command without the ROS settings of other tests, but with those in `more`."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(('ROS_', 'FAST'))
    } | more
    done = subprocess.run(
        [sys.executable, '-m', 'panoptic_ros.cli.main', 'replay', *map(str, flags)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environ | {'OMP_NUM_THREADS': '1'},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.ros
@pytest.mark.timeout(300)
def test_dropped_frames_cost_what_the_difference_says(tmp_path, slow_model):
    """The model takes a tenth of a second; at 20 times the speed images come at 200 Hz."""
    domain = free_domain_id()
    bag = write_bag(tmp_path / 'bag', drive(60))
    out, config = tmp_path / 'out', tmp_path / 'node.yaml'
    # The recorder subscribes before the first image.
    config.write_text('/**: {ros__parameters: {idle_after_s: 0.001}}')
    code, said, error = run(
        bag,
        '--model',
        slow_model,
        '--gt',
        GT_TOPIC,
        '--live',
        '--rate',
        '20',
        '--config',
        config,
        '-o',
        out,
        ROS_DOMAIN_ID=str(domain),
    )
    assert code == 0, said + error
    live, lock = (
        json.loads((folder / 'summary.json').read_text()) for folder in (out, out / 'lock_step')
    )
    assert lock['frames'] == {'replayed': 60, 'good': 60, 'bad': 0, 'lost': 0}
    assert lock['scores']['panoptic']['all']['pq'] == 100
    assert live['mode'] == 'live'
    assert live['live']['played'] == 60
    assert 1 <= live['frames']['good'] < 55
    camera = live['cameras']['camera']
    assert sum(camera['bad'].values()) == live['frames']['bad'] == 60 - live['frames']['good']
    assert camera['bad']['dropped by the node: superseded'] > 0
    assert live['live']['dropped_by_the_node']['idle'] == 0
    assert camera['scored'] == 60
    assert live['scores']['panoptic']['all']['pq'] < 100
    records = read_records(out / 'frames.jsonl')
    assert [r.stamp_ns for r in records] == [START_NS + i * STEP_NS for i in range(60)]
    for record in records:  # a result has a latency, and the rest is scored all the same
        assert bool(record.times_ms) != bool(record.problem)
        assert record.quality is not None
    first = next(i for i, record in enumerate(records) if not record.problem)
    assert all(r.stale == bool(r.problem) for r in records[first:])
    assert not any(r.stale for r in records[:first])
    page = (out / 'report.html').read_text()
    assert 'Difference to lock-step' in page
    assert 'the bag played at 20.0 times its speed' in page
    assert sorted(path.name for path in out.iterdir()) == [
        '.lock',
        'bag',
        'counts.json',
        'frames.jsonl',
        'lock_step',
        'overlay.mp4',
        'report.html',
        'summary.json',
    ]
    assert not left_by(domain)


@pytest.mark.ros
@pytest.mark.timeout(300)
def test_positions_are_those_of_lock_step(tmp_path, tiny_model):
    """The depth comes before its image, so that a fast model has it, too."""
    bag = write_bag(tmp_path / 'bag', drive_in_metres(40, after_ms=-20))
    out, config = tmp_path / 'out', tmp_path / 'node.yaml'
    config.write_text('/**: {ros__parameters: {idle_after_s: 0.001}}')
    flags = ('--model', tiny_model, '--live', '--config', config, '-o', out)
    code, said, error = run(bag, *flags, ROS_DOMAIN_ID=str(free_domain_id()))
    assert code == 0, said + error
    live, lock = (
        {header_stamp_ns(record.message): read_instances(record.message) for record in records}
        for records in (
            list(Bag(folder / 'bag').records(['/panoptic/instances']))
            for folder in (out, out / 'lock_step')
        )
    )
    assert len(lock) == 40
    live = {stamp: rows for stamp, rows in live.items() if np.isfinite(rows['z']).any()}
    assert len(live) >= 10  # a loaded machine may lose some images or their depth
    for stamp, rows in live.items():
        for name in 'xyz':
            assert np.array_equal(rows[name], lock[stamp][name], equal_nan=True)


def test_two_cameras_are_too_many(tmp_path, tiny_model):
    bag = write_bag(
        tmp_path / 'bag',
        [(f'/{name}/image', IMAGE, 1, image(scene(0), 1)) for name in ('front', 'rear')],
    )
    code, _, error = run(bag, '--model', tiny_model, '--live', '-o', tmp_path / 'out')
    assert code == 2
    assert '--live plays one camera; choose with --image: /front/image' in error


def test_the_node_has_the_settings_of_the_camera_that_is_played():
    settings = read_parameters(None) | {
        'cameras': ('front', 'rear'),
        'max_rate_hz': 5.0,
        'front.max_rate_hz': 0.0,
        'rear.min_area': 3.0,
        'front.tracker.min_hits': 2,
    }
    session = SimpleNamespace(
        config=SimpleNamespace(cameras={'front': '/front/image'}), settings=settings
    )
    given = dict(text.split(':=') for text in _node_flags(session, None)[2::2])
    assert (
        given.items()
        >= {'cameras': '["camera"]', 'max_rate_hz': '0.0', 'tracker.min_hits': '2'}.items()
    )
    assert not {'min_area', 'rear.min_area'} & set(given)


def test_each_missing_result_has_a_reason():
    live = {'dropped_by_the_node': {'superseded': 3, 'bad image': 0}, 'lost_on_the_way': 2}
    assert _reasons({DROPPED: 6, 'bad image: x': 1}, live) == {
        'bad image: x': 1,
        'dropped by the node: superseded': 3,
        'lost between player and node': 2,
        'published, but not recorded': 1,
    }
    assert np.sum(list(_reasons({DROPPED: 5}, live).values())) == 5


def test_the_node_gets_the_settings_of_the_lock_step_run(tmp_path):
    """Also from a file for a node in a namespace, which ROS itself would ignore."""
    config = tmp_path / 'node.yaml'
    config.write_text(
        '/robot/panoptic_node: {ros__parameters: {max_age_ms: 5, '
        'output_scale: network, classes: {include: [ball, box]}}}'
    )
    cameras = SimpleNamespace(cameras={'camera': '/image'})
    session = SimpleNamespace(settings=read_parameters(config), config=cameras)
    given = dict(flag.split(':=') for flag in _node_flags(session, config) if ':=' in flag)
    assert given == {
        'max_age_ms': '5.0',
        'classes.include': '["ball", "box"]',
        'output_scale': '"camera"',
        'labels.remap': '""',
        'use_sim_time': 'true',
        'autostart': 'true',
        'cameras': '["camera"]',
    }
