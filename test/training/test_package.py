# SPDX-License-Identifier: Apache-2.0
"""The folder training/ is one package, panoptic_training."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('module', ['training', 'training.data.sample'])
def test_the_folder_is_not_a_second_package(module):
    done = subprocess.run(
        [sys.executable, '-c', f'import {module}'], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert 'import panoptic_training' in done.stderr.splitlines()[-1]
