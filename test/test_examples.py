# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import cv2
import pytest

from panoptic_training.data.synthetic import VAL_SEEDS, SyntheticClip

ROOT = Path(__file__).parents[1]
PACKAGES = {'panoptic_ros': ROOT / 'panoptic_ros', 'panoptic_training': ROOT / 'training'}
MODULES = sorted(
    '.'.join((package, *path.relative_to(folder).with_suffix('').parts)).removesuffix('.__init__')
    for package, folder in PACKAGES.items()
    for path in folder.rglob('*.py')
    if '>>> ' in path.read_text()
)


@pytest.mark.parametrize('name', MODULES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = SyntheticClip(VAL_SEEDS[0], (480, 960)).frame(5).image
    cv2.imwrite('street.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    results = doctest.testmod(import_module(name))
    assert results.attempted and not results.failed
