# SPDX-License-Identifier: Apache-2.0
import importlib.util
import shutil
from pathlib import Path

import pytest

from panoptic_ros.core import resources

SOURCE = Path(resources.__file__)


def load_from(path: Path):
    """resources.py as if the package was installed there."""
    path = path / 'core'
    path.mkdir(parents=True)
    shutil.copy(SOURCE, path / 'resources.py')
    spec = importlib.util.spec_from_file_location('copied_resources', path / 'resources.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('package', 'root'),
    [
        ('src/panoptic_ros', 'src'),  # source, editable
        ('venv/lib/python3.12/site-packages/panoptic_ros', 'venv/share/panoptic_ros'),  # wheel
        ('usr/local/lib/python3.10/dist-packages/panoptic_ros', 'usr/local/share/panoptic_ros'),
        (
            'install/panoptic_ros/lib/python3.12/site-packages/panoptic_ros',
            'install/panoptic_ros/share/panoptic_ros',
        ),  # colcon
        (
            'install/panoptic_ros/local/lib/python3.10/dist-packages/panoptic_ros',
            'install/panoptic_ros/share/panoptic_ros',
        ),  # colcon on Humble
    ],
)
def test_files_are_found_wherever_the_package_lies(tmp_path, package, root):
    module = load_from(tmp_path / package)
    expected = tmp_path / root / 'config' / 'fastdds.xml'
    expected.parent.mkdir(parents=True)
    expected.write_text('x')
    assert module.resource_file('config/fastdds.xml') == expected


def test_a_missing_file_is_explained(tmp_path):
    module = load_from(tmp_path / 'lib' / 'panoptic_ros')
    with pytest.raises(FileNotFoundError, match=r'config/none\.xml of panoptic_ros is in none of'):
        module.resource_file('config/none.xml')


def test_a_package_without_a_model_says_what_to_do(tmp_path):
    module = load_from(tmp_path / 'panoptic_ros')
    with pytest.raises(FileNotFoundError, match='parameter `model`'):
        module.default_model()
    (tmp_path / 'panoptic_ros' / 'data').mkdir()
    model = tmp_path / 'panoptic_ros' / 'data' / 'city.onnx'
    model.touch()
    assert module.default_model() == model


@pytest.mark.parametrize(
    'name', ['config/fastdds.xml', 'config/panoptic.yaml', 'launch/panoptic.launch.py']
)
def test_this_copy_has_its_files(name):
    assert resources.resource_file(name).is_file()
