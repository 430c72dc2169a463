"""Fixtures for all tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves tiny_model unfindable

from tiny_model import make_tiny_model


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that names colours; see tiny_model.py."""
    return make_tiny_model(tmp_path_factory.mktemp('models') / 'tiny.onnx')


@pytest.fixture(scope='session')
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but an image takes about a tenth of a second."""
    return make_tiny_model(tmp_path_factory.mktemp('models') / 'slow.onnx', work=4)
