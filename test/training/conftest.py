"""One tiny training for all tests of this folder."""

import pytest
from tiny_training import Training, run_noted


@pytest.fixture(scope='session')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The tiny training from start to end; left as it is."""
    return run_noted(tmp_path_factory.mktemp('trained'))
