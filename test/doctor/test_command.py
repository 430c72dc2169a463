# SPDX-License-Identifier: Apache-2.0
"""`panoptic doctor` in whole and in broken environments."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from panoptic_ros.cli.main import main
from panoptic_ros.core.transport import NEW_VARIABLE, OLD_VARIABLE
from panoptic_ros.doctor import examine as examination
from panoptic_ros.doctor.page import format_page

ROOT = Path(__file__).parents[2]
MAX_S = 20


def environment(folder: Path, blocked=(), commands=(), **variables) -> dict[str, str]:
    """The environment of this process without settings of ROS.

    Args:
        folder: a new folder for stand-ins.
        blocked: packages that cannot be imported.
        commands: (name, shell script) of commands that come first in PATH.
        variables: more variables.
    """
    (folder / 'modules').mkdir()
    (folder / 'bin').mkdir()
    for name in blocked:
        (folder / 'modules' / f'{name}.py').write_text(
            f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})'
        )
    for name, script in commands:
        (folder / 'bin' / name).write_text(f'#!/bin/sh\n{script}\n')
        (folder / 'bin' / name).chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('ROS_', 'RMW_', 'FASTDDS_', 'FASTRTPS_', 'CUDA_', 'PYTHONPATH'))
    }
    path = f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}'
    return kept | {'PATH': path, 'PYTHONPATH': str(folder / 'modules')} | variables


def run_doctor(environ, *arguments):
    """Run the command; returns the exit status, what it wrote, and its duration in seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, '-m', 'panoptic_ros.cli.main', 'doctor', *arguments],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert 'Traceback' not in done.stderr
    return done.returncode, done.stdout, done.stderr, time.monotonic() - start


def texts(facts, kind='problems'):
    return '\n'.join(f'{row["text"]} -> {row["remedy"]}' for row in facts[kind])


@pytest.fixture(scope='module')
def healthy(tmp_path_factory):
    """The JSON of a machine without problems; PyTorch, which takes long, is broken."""
    environ = environment(tmp_path_factory.mktemp('healthy'), blocked=['torch'])
    status, out, _, seconds = run_doctor(environ, '--json')
    return status, json.loads(out), seconds


@pytest.mark.ros
def test_a_healthy_machine_has_no_problems(healthy):
    status, facts, seconds = healthy
    assert status == bool(facts['problems'])
    if not facts['gpu']['device_files']:  # the tests' environment has no backend for a GPU
        assert facts['problems'] == []
    assert seconds < MAX_S
    model = facts['model']
    assert model['chosen'] == 'onnxruntime'
    row = model['backends']['onnxruntime']
    assert (row['state'], row['difference']) == ('works', '')
    assert 0 < row['p50_ms'] < 10_000 and 0 < row['load_s'] < MAX_S
    assert model['backends']['torch']['state'] == 'failed'
    assert model['backends']['tensorrt']['state'] == 'not available'
    assert 'torch is installed, but does not run' in texts(facts, 'notes')
    assert all(row['version'] for row in facts['packages']['required'])
    if facts['ros']['middleware']:
        assert facts['images']['sent'] == 20 and facts['images']['received'] >= 10


@pytest.mark.ros
def test_all_keys_are_documented(healthy):
    _, facts, _ = healthy
    documented = re.findall(r'^\| `([\w.]+)` \|', (ROOT / 'docs/doctor.md').read_text(), re.M)
    found = {
        f'{section}.{key}'
        for section, value in facts.items()
        if isinstance(value, dict)
        for key in value
    } | {key for key, value in facts.items() if not isinstance(value, dict)}
    assert sorted(documented) == sorted(found)


def test_a_broken_machine_gets_remedies(tmp_path):
    home = tmp_path / 'home' / 'ada'
    home.mkdir(parents=True)
    (home / 'profile.xml').write_text('<profiles>')
    environ = environment(
        tmp_path,
        blocked=['onnxruntime', 'torch'],
        commands=[('nvidia-smi', 'echo "NVIDIA X1, 580.1, 24564, 312"')],
        HOME=str(home),
        RMW_IMPLEMENTATION='rmw_cyclonedds_cpp',
        ROS_DOMAIN_ID='999',
        FASTRTPS_DEFAULT_PROFILES_FILE=str(home / 'profile.xml'),
        ROS_STATIC_PEERS='10.1.2.3',
        SECRET_TOKEN='hunter2',
        COLUMNS='80',
    )
    status, page, _, seconds = run_doctor(environ)
    assert status == 1
    assert seconds < MAX_S
    text = ' '.join(page.split())
    for words in (
        'packages that every command needs: onnxruntime is not installed -> install',
        'RMW_IMPLEMENTATION is rmw_cyclonedds_cpp, which is not installed',
        'ROS_DOMAIN_ID must be a whole number from 0 to 232',
        'nvidia-smi lists a GPU, but',
        'onnxruntime failed: onnxruntime cannot be imported',
        'FASTRTPS_DEFAULT_PROFILES_FILE=~/profile.xml',
        'NVIDIA X1, driver 580.1',
        'problems',
    ):
        assert words in text, page
    for private in ('ada', '10.1.2.3', 'hunter2', 'SECRET_TOKEN', os.uname().nodename):
        assert private not in page


def test_without_numpy_ros_and_metadata_there_is_a_page(tmp_path):
    environ = environment(tmp_path, blocked=['numpy', 'rclpy', 'yaml', 'rich', 'cv2'])
    status, page, _, seconds = run_doctor(environ)
    assert status == 1 and seconds < MAX_S
    text = ' '.join(page.split())
    for words in (
        'every command needs: numpy is not installed; opencv-python-headless is not installed;',
        'rclpy not available',
        "by backend not available exit status 1: ModuleNotFoundError: No module named 'numpy'",
    ):
        assert words in text, page


def test_json_goes_to_a_file_beside_the_page(tmp_path, monkeypatch, capsys):
    facts = {'format': 1, 'date': 'today', 'seconds': 1.0, 'problems': [], 'notes': []}
    monkeypatch.setattr(examination, 'examine', lambda: facts)
    assert main(['doctor', '--json', str(tmp_path / 'page.json')]) == 0
    assert json.loads((tmp_path / 'page.json').read_text()) == facts
    assert 'no problems' in capsys.readouterr().out
    facts['problems'] = [{'text': 'bad', 'remedy': 'repair'}]
    assert main(['doctor', '--json']) == 1
    assert json.loads(capsys.readouterr().out) == facts
    assert main(['doctor', '--json', str(tmp_path / 'none' / 'page.json')]) == 2


def test_a_check_that_fails_is_a_finding_and_leaves_the_rest(monkeypatch):
    def fail(*_):
        raise RuntimeError('no such file system')

    class Nothing:
        """A probe without a process."""

        def __init__(self, *_):
            pass

        @property
        def result(self):
            raise OSError('no processes are left')

        def kill(self):
            pass

    monkeypatch.setattr(examination, 'Probe', Nothing)
    monkeypatch.setattr('panoptic_ros.doctor.machine.cpu_facts', fail)
    facts = examination.examine()
    assert 'the check of cpu failed: RuntimeError: no such file system' in texts(facts)
    assert 'the check of ros failed: OSError: no processes are left' in texts(facts)
    assert facts['memory']['total'] > 0
    page = format_page(facts)
    assert 'no such file system' in page and 'memory' in page


def test_the_page_fits_its_width():
    names = dict.fromkeys((OLD_VARIABLE, NEW_VARIABLE), 'x' * 20)
    row = {'text': 'word ' * 60, 'remedy': 'step ' * 60}
    facts = {'date': '', 'seconds': 0.0, 'problems': [row], 'notes': [row, row]}
    facts['system'] = {
        'panoptic_ros': '1',
        'system': 'Linux',
        'kernel': '6',
        'architecture': 'arm',
        'container': None,
        'python': '3.12',
        'interpreter': 'python',
        'virtual_environment': False,
        'folder': 'panoptic_ros',
        'environment': names,
    }
    page = format_page(facts, 80)
    assert max(map(len, page.splitlines())) <= 80
    assert '1 problem, 2 notes:' in page
