# SPDX-License-Identifier: Apache-2.0
"""The names that `panoptic_ros` offers."""

import subprocess
import sys

import pytest

import panoptic_ros


def test_public_names_resolve():
    assert {name: callable(getattr(panoptic_ros, name)) for name in panoptic_ros.__all__} == {
        'Label': True,
        'LabelSet': True,
        'PanopticFrame': True,
        'Tracker': True,
        '__version__': False,
        'load': True,
        'predict': True,
        'predict_files': True,
        'read_instances': True,
    }
    with pytest.raises(AttributeError, match="no attribute 'Tracer'"):
        panoptic_ros.Tracer  # noqa: B018


def test_labels_load_no_other_package():
    code = (
        'import sys, panoptic_ros.core.labels; '
        "print(*sorted(name for name in sys.modules if name.startswith('panoptic_ros.')))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        'panoptic_ros.core',
        'panoptic_ros.core.labels',
        'panoptic_ros.core.text',
        'panoptic_ros.core.version',
    ]
