# SPDX-License-Identifier: Apache-2.0
"""One tiny training, and small checkpoints, for all tests of this folder."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tiny_training import Training, run_recorded


@pytest.fixture(scope='session')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The tiny training from start to end; left as it is."""
    return run_recorded(tmp_path_factory.mktemp('trained'))


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a folder with a small checkpoint of transformers, once for each kind."""
    from small_transformers import write_checkpoint

    @cache
    def make(kind: str) -> Path:
        return write_checkpoint(tmp_path_factory.mktemp(kind), kind)

    return make
