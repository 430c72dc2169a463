# SPDX-License-Identifier: Apache-2.0
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from panoptic_ros.ros import processes
from panoptic_ros.ros.processes import (
    Child,
    free_domain_id,
    remove_shared_memory,
    ros_environment,
    shared_memory_files,
)

PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that starts a child with some code and waits for its first line."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    children = []

    def start(code: str) -> tuple[Child, list[str]]:
        (tmp_path / 'some_child.py').write_text(textwrap.dedent(code))
        lines: list[str] = []
        child = Child('worker', 'some_child', ['a', 'b'], lines.append)
        children.append(child)
        while not lines and child.exit_code is None:
            time.sleep(0.01)
        return child, lines

    yield start
    for child in children:
        child.stop(0)


def test_the_output_of_a_child_is_read_and_it_ends_as_by_ctrl_c(start):
    child, lines = start("""
        import sys, time
        print('began', *sys.argv[1:])
        print('wrong', file=sys.stderr)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print('ended')
    """)
    child.check()
    child.stop(20)
    child.check()
    assert (child.exit_code, child.killed) == (0, False)
    assert lines == ['began a b', 'wrong', 'ended']


def test_a_child_that_does_not_end_is_killed(start):
    child, _ = start("""
        import signal, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print('deaf')
        time.sleep(60)
    """)
    child.stop(0.2)
    assert (child.exit_code, child.killed) == (-signal.SIGKILL, True)


def test_a_child_is_ended_when_the_parent_fails(start):
    child, _ = start('import time; print(1); time.sleep(60)')
    with pytest.raises(ZeroDivisionError), child:
        1 / 0  # noqa: B018
    assert child.exit_code is not None


def test_a_child_that_died_is_an_error(start):
    child, lines = start('raise SystemExit("no memory")')
    while child.exit_code is None:
        time.sleep(0.01)
    with pytest.raises(ChildProcessError, match='the worker ended with exit code 1'):
        child.check()
    assert lines == ['no memory']


def test_the_demo_is_isolated_from_the_rest_of_ros():
    added = ros_environment({})
    assert added['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert 1 <= int(added['ROS_DOMAIN_ID']) <= 101
    assert all(Path(added[name]).is_file() for name in PROFILES)
    assert added['MALLOC_ARENA_MAX'] == '1'
    assert 'ROS_LOCALHOST_ONLY' not in added
    assert ros_environment({'ROS_DISTRO': 'humble'})['ROS_LOCALHOST_ONLY'] == '1'


@pytest.mark.parametrize(
    'own',
    [
        {'ROS_DOMAIN_ID': '7'},  # joins a running system
        {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'},
        {'MALLOC_ARENA_MAX': '4'},
        {PROFILES[0]: 'own.xml'},
        {PROFILES[1]: 'own.xml'},  # the other must not overrule it
    ],
)
def test_variables_of_the_user_are_kept(own):
    added = ros_environment(own)
    assert not own.keys() & added.keys()
    if PROFILES[0] in own or PROFILES[1] in own:
        assert not set(PROFILES) & added.keys()


@pytest.mark.parametrize(
    'port',
    [
        7400 + 250,  # multicast discovery
        7410 + 250,  # first participant; without multicast the only sign of a LOCALHOST node
        7410 + 250 + 2 * 31,  # last participant, the others have ended
    ],
)
def test_a_domain_in_use_is_not_taken(monkeypatch, port):
    monkeypatch.setattr(processes, 'MAX_DOMAIN_ID', 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Fast DDS does
        one.bind(('', port))
        assert {free_domain_id() for _ in range(20)} == {2}


@pytest.mark.skipif(not processes.SHARED_MEMORY.is_dir(), reason='needs /dev/shm')
def test_only_unused_files_are_removed_from_shared_memory():
    folder, pid = processes.SHARED_MEMORY, os.getpid()
    old, left, used = (folder / f'fastrtps_test{pid}_{name}' for name in ('old', 'left', 'used'))
    locks = [folder / f'sem.{left.name}_mutex', folder / f'{used.name}_el']
    files = [old, left, used, *locks]
    user = None
    try:
        old.write_bytes(bytes(4096))
        before = shared_memory_files()
        for path in files[1:]:
            path.write_bytes(bytes(4096))
        user = subprocess.Popen(
            [
                sys.executable,
                '-c',
                'import mmap, sys; f = open(sys.argv[1], "r+b"); '
                'm = mmap.mmap(f.fileno(), 0); print(1, flush=True); sys.stdin.read()',
                str(used),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert user.stdout.readline() == b'1\n'
        remove_shared_memory(before)
        assert [path.exists() for path in files] == [True, False, True, False, True]
    finally:
        if user:
            user.communicate()
        for path in files:
            path.unlink(missing_ok=True)
