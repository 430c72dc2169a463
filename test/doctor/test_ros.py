# SPDX-License-Identifier: Apache-2.0
"""ROS settings of a shell, and ROS processes that do not fit together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from panoptic_ros.doctor import ros, running, transport
from panoptic_ros.doctor.probes import Ended
from panoptic_ros.ros.processes import free_domain_id, remove_shared_memory, shared_memory_files

WORKS = Ended(json.dumps({'rclpy': 'rclpy.py', 'middleware': 'rmw_fastrtps_cpp'}), '', '')
FAILS = Ended('', "ModuleNotFoundError: No module named 'rclpy'\n", 'exit status 1')


@pytest.fixture(autouse=True)
def no_wheels(monkeypatch):
    """The wheels of the tests' own environment are not looked at."""
    monkeypatch.setattr(ros, '_wheel_distribution', lambda: None)


def findings(probe, opt_ros, **environ):
    facts = ros.ros_facts(probe, environ, opt_ros)
    return {f.text: f for f in ros.ros_findings(facts)}


def library(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_working_installation_has_no_findings(tmp_path):
    (tmp_path / 'jazzy').mkdir()
    assert not findings(WORKS, tmp_path, ROS_DISTRO='jazzy', ROS_DOMAIN_ID='5')
    facts = ros.ros_facts(WORKS, {'ROS_DISTRO': 'jazzy'}, tmp_path)
    assert facts['distribution'] == 'jazzy' and facts['installed'] == ['jazzy']
    assert facts['domain_id'] == '0'


@pytest.mark.parametrize(
    ('probe', 'installed', 'environ', 'words', 'remedy', 'is_problem'),
    [
        (FAILS, [], {}, 'ROS 2 is not installed', 'panoptic_ros[ros]', False),
        (FAILS, ['humble'], {}, 'humble is installed, but not sourced', '/humble/setup', False),
        (FAILS, [], {'ROS_DISTRO': 'jazzy'}, 'rclpy cannot be used', 'system-site', True),
        (
            FAILS,
            [],
            {'ROS_DISTRO': 'jazzy', 'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'},
            'rmw_zenoh_cpp, which is not installed',
            'apt install ros-jazzy-rmw-zenoh-cpp, or unset',
            True,
        ),
        (WORKS, [], {'ROS_DOMAIN_ID': 'five'}, "0 to 232, got 'five'", 'ROS_DOMAIN_ID=0', True),
        (WORKS, [], {'ROS_DOMAIN_ID': '233'}, "0 to 232, got '233'", 'ROS_DOMAIN_ID=0', True),
        (WORKS, [], {'ROS_DOMAIN_ID': '150'}, 'ROS_DOMAIN_ID is 150', '0 to 101', False),
        (WORKS, [], {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF'}, 'no other process', 'unset', False),
    ],
)
def test_each_trap_has_a_finding(tmp_path, probe, installed, environ, words, remedy, is_problem):
    for name in installed:
        (tmp_path / name).mkdir()
    [finding] = findings(probe, tmp_path, **environ).values()
    assert words in finding.text and remedy in finding.remedy
    assert finding.is_problem == is_problem


def test_missing_messages_are_named(tmp_path):
    report = json.loads(WORKS.output) | {'missing_messages': ['std_srvs']}
    [finding] = findings(Ended(json.dumps(report), '', ''), tmp_path).values()
    assert 'std_srvs' in finding.text and finding.is_problem


def test_wheels_of_another_distribution_are_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(ros, '_wheel_distribution', lambda: 'kilted')
    [finding] = findings(WORKS, tmp_path, ROS_DISTRO='jazzy').values()
    assert 'jazzy is sourced' in finding.text and 'wheels of kilted' in finding.text


def test_several_versions_of_fast_dds_are_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(ros.sys, 'prefix', str(tmp_path))
    library(
        tmp_path / 'a' / 'lib', 'libfastrtps.so', 'libfastrtps.so.2.14', 'libfastrtps.so.2.14.5'
    )
    library(tmp_path / 'b', 'libfastdds.so.3.2.2', 'librmw_cyclonedds_cpp.so')
    environ = {'AMENT_PREFIX_PATH': str(tmp_path / 'a'), 'LD_LIBRARY_PATH': str(tmp_path / 'b')}
    facts = ros.ros_facts(WORKS, environ, tmp_path / 'none')
    assert set(facts['fast_dds'].values()) == {'2.14.5', '3.2.2'}
    assert facts['middleware_installed'] == ['rmw_cyclonedds_cpp']
    [finding] = ros.ros_findings(facts)
    assert '2.14.5, 3.2.2' in finding.text and not finding.is_problem


def test_a_node_that_another_interpreter_runs_is_a_note(tmp_path):
    program = library(tmp_path / 'install/lib/panoptic_ros') / 'panoptic_node'
    program.write_text('#!/usr/other/bin/python3\nimport sys\n')
    environ = {'AMENT_PREFIX_PATH': str(tmp_path / 'install')}
    facts = ros.ros_facts(WORKS, environ, tmp_path)
    assert facts['node_program']['interpreter'] == '/usr/other/bin/python3'
    assert 'starts the node with /usr/other' in next(ros.ros_findings(facts)).text
    program.write_text(f'#!{Path(sys.executable).parent}/python3\n')
    assert not [*ros.ros_findings(ros.ros_facts(WORKS, environ, tmp_path))]


def process(proc: Path, pid: int, command: str, libraries=(), **environ: str) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / 'maps').write_text(''.join(f'7f-80 r-xp 00 00:00 1 /lib{x}\n' for x in libraries))
    (folder / 'cmdline').write_bytes(command.replace(' ', '\0').encode() + b'\0')
    pairs = '\0'.join(f'{name}={value}' for name, value in environ.items())
    (folder / 'environ').write_bytes(pairs.encode())


FAST = ('/librmw_fastrtps_shared_cpp.so', '/librmw_fastrtps_cpp.so', '/libfastrtps.so.2.14.1')
CYCLONE = ('/librmw_cyclonedds_cpp.so', '/libddsc.so.0')
SHELL = {'domain_id': '0', 'middleware': 'rmw_fastrtps_cpp'}


def test_processes_are_found_and_compared(tmp_path):
    process(tmp_path, 1, '/sbin/init')
    process(tmp_path, 20, '/opt/usb_cam/usb_cam_node --ros-args', CYCLONE)
    process(
        tmp_path,
        21,
        '/usr/bin/python3 /x/panoptic_node --ros-args -r __node:=seg',
        FAST,
        FASTRTPS_DEFAULT_PROFILES_FILE='p.xml',
    )
    process(tmp_path, 22, 'python3 -u -m my.module', FAST, ROS_DOMAIN_ID='0')
    process(tmp_path, 23, 'python3 /x/tool.py', [*FAST[:2], '/libfastrtps.so.2.6.9'])
    process(tmp_path, 26, 'python3 -m panoptic_ros.cli.main demo', FAST)  # sets it itself
    process(tmp_path, 24, 'rviz2', FAST, ROS_DOMAIN_ID='7')
    (tmp_path / '25').mkdir()  # has just ended
    facts = running.running_facts(tmp_path)
    names = {row['pid']: row['name'] for row in facts['processes']}
    assert names == {
        20: 'usb_cam_node',
        21: 'seg',
        22: 'my.module',
        23: 'tool.py',
        24: 'rviz2',
        26: 'panoptic_ros.cli.main',
    }
    middleware, versions, profile = running.running_findings(facts, SHELL)
    assert middleware.is_problem and 'rmw_cyclonedds_cpp (usb_cam_node)' in middleware.text
    assert 'this shell' in middleware.text
    assert versions.is_problem and '2.6.9 (tool.py)' in versions.text
    assert not profile.is_problem and profile.text.endswith('my.module, tool.py')
    [other] = running.running_findings(
        {'processes': [row for row in facts['processes'] if row['pid'] == 24]}, SHELL
    )
    assert 'in domain 7, but this shell uses domain 0' in other.text
    assert not [*running.running_findings({'processes': []}, SHELL)]


@pytest.mark.ros
def test_segments_of_a_killed_process_are_left_over(monkeypatch):
    pytest.importorskip('rclpy')
    monkeypatch.setattr(transport, 'YOUNG_S', 0.0)
    before = shared_memory_files()
    domain = str(free_domain_id())
    code = 'import rclpy; rclpy.init(); n = rclpy.create_node("a"); print(1, flush=True); input()'
    with subprocess.Popen(
        [sys.executable, '-c', code],
        env={**os.environ, 'ROS_DOMAIN_ID': domain, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as node:
        assert node.stdout.readline() == b'1\n'
        try:
            [row] = [r for r in running.running_facts()['processes'] if r['pid'] == node.pid]
            assert (row['domain_id'], row['middleware']) == (domain, 'rmw_fastrtps_cpp')
            assert row['fast_dds'].startswith('2.')
            own = {
                path
                for path in shared_memory_files() - before
                if str(path) in Path(f'/proc/{node.pid}/maps').read_text()
            }
            assert own and not own & set(transport.left_over_files(shared_memory_files()))
        finally:
            node.send_signal(signal.SIGKILL)
    left = own & set(transport.left_over_files(shared_memory_files()))
    remove_shared_memory(before)
    assert left
