# SPDX-License-Identifier: Apache-2.0
"""Suites that are also played to the running node."""

import os
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
pytest.importorskip('matplotlib', reason='reports are drawn by it')

from replay_bags import GT_TOPIC, drive, write_bag
from suite_runs import rows_of, run_suite, summary_of, write_suite

from panoptic_ros.ros.processes import free_domain_id


@pytest.mark.ros
@pytest.mark.timeout(300)
def test_dropped_images_are_counted_by_recording_and_tag(tmp_path, slow_model):
    """The model takes a tenth of a second; at 20 times the speed images come at 200 Hz."""
    write_bag(tmp_path / 'drive', drive(40))
    (tmp_path / 'node.yaml').write_text('/**: {ros__parameters: {idle_after_s: 0.001}}')
    suite = write_suite(
        tmp_path / 'suite.yaml',
        [{'path': 'drive', 'ground_truth': GT_TOPIC, 'tags': ['fast']}],
        model=str(slow_model),
        config='node.yaml',
    )
    out = tmp_path / 'out'
    kept = {name: v for name, v in os.environ.items() if not name.startswith(('ROS_', 'FAST'))}
    environ = kept | {'ROS_DOMAIN_ID': str(free_domain_id()), 'OMP_NUM_THREADS': '1'}
    words = ['suite', 'run', str(suite), '--live', '--rate', '20', '-o', str(out)]
    done = subprocess.run(
        [sys.executable, '-m', 'panoptic_ros.cli.main', *words],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary, live = summary_of(out), summary_of(out / 'recordings' / 'drive')['live']
    drops = summary['drops']
    assert drops['played'] == live['played'] == 40 and drops['received'] == live['received']
    assert drops['dropped'] == sum(live['dropped_by_the_node'].values()) > 0
    assert summary['tags']['fast']['drops'] == drops
    assert rows_of(out)[0]['dropped'] == drops['dropped']
    assert f'<b>{drops["dropped"]}</b>' in (out / 'index.html').read_text()
    assert summary['mode'] == 'live at 20 times the speed'


@pytest.mark.parametrize(
    ('flags', 'error'),
    [
        (['--rate', '2'], '--rate is for --live'),
        (['--live', '--ray', 'auto'], '--live plays recordings one after the other'),
        (['--ray', 'auto', '--workers', '2'], '--workers is for this machine'),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, capsys, flags, error):
    assert run_suite(tmp_path / 'suite.yaml', '-o', tmp_path / 'out', *flags) == 2
    assert error in capsys.readouterr().err
