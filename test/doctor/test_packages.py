# SPDX-License-Identifier: Apache-2.0
"""Versions of packages, and those that are missing or broken."""

import pytest
from optional import OPTIONAL

from panoptic_ros.doctor import packages
from panoptic_ros.doctor.probes import Probe, python_module


def test_requirements_come_from_the_metadata():
    rows = {(row.module, row.extra): row for row in packages.requirements()}
    assert rows['cv2', ''].name == 'opencv-python-headless'
    assert rows['cv2', ''].minimum and rows['rclpy', 'ros'].name == 'ros-jazzy-rclpy'
    assert set(packages.EXTRAS) <= {extra for _, extra in rows}
    assert OPTIONAL['torch'] == 'train' and ('torch', 'train') in rows
    assert 'numpy' in packages.required_modules() and 'torch' not in packages.required_modules()


@pytest.mark.parametrize(
    ('version', 'minimum', 'older'),
    [
        ('1.26.4', '1.26', False),
        ('1.9', '1.26', True),
        ('4.6.0', '4.6', False),
        ('6', '6.0', False),
        ('2.15.0+cpu', '2.6', False),
        ('5.0.0.dev3', '5.1', True),
        ('unknown', '1', True),
        ('1.0', '', False),
    ],
)
def test_versions_are_compared_by_numbers(version, minimum, older):
    assert packages.is_older(version, minimum) == older


@pytest.mark.parametrize(
    ('body', 'timeout_s', 'words'),
    [
        ('import os; os.kill(os.getpid(), 11)', 20, 'ended by SIGSEGV'),
        ('import time; time.sleep(60)', 3, 'no answer within 3 s'),
        ('raise AttributeError("_ARRAY_API not found")', 20, 'AttributeError: _ARRAY_API'),
        ('import no_such_library', 20, "No module named 'no_such_library'"),
    ],
)
def test_a_broken_package_is_named(tmp_path, monkeypatch, body, timeout_s, words):
    (tmp_path / 'onnx.py').write_text(body)
    for name in ('numpy', 'cv2', 'scipy'):
        (tmp_path / f'{name}.py').write_text('__version__ = "1.9"')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    modules = packages.required_modules()
    assert modules[:4] == ['numpy', 'cv2', 'scipy', 'onnx']
    command = python_module('panoptic_ros.doctor.import_check', *modules)
    facts = packages.package_facts(Probe(command, timeout_s).result)
    found = {row['name']: row for row in facts['required']}
    assert words in found['onnx']['error'] and found['numpy']['version'] == '1.9'
    findings = [f.text for f in packages.package_findings(facts) if f.is_problem]
    assert any('command needs: onnx cannot be imported: ' in text for text in findings)
    assert 'numpy 1.9 is older than 1.26' in findings
    # Those after one that ends the process were not tried, which is no fault of theirs.
    assert found['rich']['error'] in (None, 'was not tried')
    assert not any('was not tried' in text for text in findings)


def test_extras_without_some_of_their_packages_are_named(monkeypatch):
    monkeypatch.setattr(packages, 'is_importable', lambda name: name not in ('jinja2', 'rosbags'))
    monkeypatch.setattr(packages, '_installed_version', lambda name: '0.1')
    facts = packages.package_facts(
        Probe(python_module('panoptic_ros.doctor.import_check'), 20).result
    )
    assert facts['extras']['bag'] == {'installed': {}, 'missing': ['rosbags'], 'too_old': []}
    notes = {f.text: f.remedy for f in packages.package_findings(facts) if not f.is_problem}
    report = next(text for text in notes if 'report' in text)
    assert 'without jinja2' in report and 'matplotlib 0.1 (needs 3.6)' in report
    assert notes[report] == 'pip install "panoptic_ros[report]"'
    assert not any('replay, bags' in text for text in notes)  # left out on purpose
    clash = next(f for f in packages.package_findings(facts) if 'overwrite each other' in f.text)
    assert clash.is_problem and 'onnxruntime-gpu' in clash.text
