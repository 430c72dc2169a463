# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests."""

import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# Pytest's importlib mode adds no folder of tests to the path.
sys.path.insert(0, str(Path(__file__).parent / 'helpers'))

from optional import skip_without_package
from tiny_model import LABELS, make_tiny_model

# A suite that a script starts in the background ignores Ctrl-C, and so would its processes.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Collect a file, or skip it where an optional package is missing."""
    return _Module.from_parent(parent, path=module_path)


class _Module(pytest.Module):
    def collect(self) -> list[pytest.Item | pytest.Collector]:
        try:
            return list(super().collect())
        except self.CollectError as error:
            skip_without_package(error)
            raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Skip a test whose fixtures import an optional package that is missing."""
    try:
        return (yield)
    except Exception as error:
        skip_without_package(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip a test that imports an optional package that is missing."""
    try:
        return (yield)
    except Exception as error:
        skip_without_package(error)
        raise


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that recognises colours; see tiny_model.py."""
    return make_tiny_model(tmp_path_factory.mktemp('models') / 'tiny.onnx')


@pytest.fixture(scope='session')
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, slowed to about a tenth of a second per image."""
    return make_tiny_model(tmp_path_factory.mktemp('models') / 'slow.onnx', work=4)


@pytest.fixture(scope='session')
def hle_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained HLE model file for input 64 x 128; needs torch and about 10 s."""
    torch = pytest.importorskip('torch')
    from panoptic_ros.models.registry import build
    from panoptic_training.export import export_model

    torch.manual_seed(0)
    model = build(
        'hle',
        LABELS,
        backbone='mobilenetv2_050',
        aspp_channels=32,
        low_level_channels=16,
        decoder_channels=32,
        separable=True,
    )
    path = tmp_path_factory.mktemp('models') / 'hle.onnx'
    export_model(model, path, (64, 128), name='hle', half_weights=True, stride=4, top_k=16)
    return path
