# SPDX-License-Identifier: Apache-2.0
"""Recording for the tests of this folder."""

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a recording of 8 images with ground truth; not to be changed."""
    from replay_bags import drive, write_bag  # needs rosbags

    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', drive(8))
