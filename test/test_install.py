# SPDX-License-Identifier: Apache-2.0
"""The package's lists of what it needs, and the recipe of docs/install.md, simulated.

A distribution is simulated by a user site that holds apt's versions of the packages below the
recipe's virtual environment, as apt's dist-packages lie below one on Ubuntu. ROS 2 Jazzy and
Kilted come from PyPI's wheels; there are none of Humble and Lyrical.
"""

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from optional import OPTIONAL, skip_without_package

ROOT = Path(__file__).parents[1]

APT_KEYS = {
    'rclpy',
    'rcl_interfaces',
    'sensor_msgs',
    'std_msgs',
    'diagnostic_msgs',
    'visualization_msgs',
    'lifecycle_msgs',
    'std_srvs',
    'rosgraph_msgs',
    'vision_msgs',
    'geometry_msgs',
    'tf2_ros_py',
    'ament_index_python',
    'launch',
    'launch_ros',
    'ros2launch',
    'python3-numpy',
    'python3-opencv',
    'python3-scipy',
    'python3-yaml',
    'python3-rich',
    'python3-matplotlib',
    'python3-jinja2',
    'python3-pytest',
    'python3-pytest-timeout',
    'python3-hypothesis',
}
"""Looked up in rosdistro: apt serves them on Ubuntu 22.04, 24.04 and 26.04."""

APT_NAMES = {'opencv-python-headless': 'python3-opencv', 'pyyaml': 'python3-yaml'}
"""Keys of packages that are called otherwise on PyPI."""


def lines_of(path: Path) -> list[str]:
    """The requirements of a file and of those it includes."""
    found = []
    for line in path.read_text().splitlines():
        if line.startswith('-r '):
            found += lines_of(path.parent / line.removeprefix('-r '))
        elif line and not line.startswith('#'):
            found.append(line)
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split('[^a-z0-9_-]', text)[0] for text in requirements}


def test_package_xml_names_only_what_apt_serves():
    depends = [
        element.text
        for element in ElementTree.parse(ROOT / 'package.xml').getroot()
        if element.tag.endswith('depend')
    ]
    assert len(depends) == len(set(depends))
    assert set(depends) == APT_KEYS


def test_only_a_missing_optional_package_skips_a_test():
    error = ValueError('no such engine')
    error.__cause__ = ModuleNotFoundError(name='torch.nn')
    with pytest.raises(pytest.skip.Exception, match='needs torch: pip install'):
        skip_without_package(error)
    for other in (ModuleNotFoundError(name='panoptic_ros.x'), ImportError(name='torch'), None):
        skip_without_package(other)


@dataclass
class Distribution:
    """What the simulation of a distribution needs."""

    python: tuple[str, ...]
    """Versions of Python, the distribution's own first."""

    apt: tuple[str, ...]
    """Packages of its Ubuntu, or those nearest to them that PyPI has for this Python."""

    wheels: bool
    """Whether PyPI has its ROS 2."""


UBUNTU_24 = (
    'numpy==1.26.4',
    'opencv-python-headless==4.6.0.66',
    'scipy==1.11.4',
    'pyyaml==6.0.1',
    'rich==13.7.1',
    'setuptools==68.1.2',
    'matplotlib==3.8.0',
    'jinja2==3.1.2',
)
DISTRIBUTIONS = {
    'humble': Distribution(
        ('3.10',),
        (
            'numpy==1.21.5',
            'opencv-python-headless==4.5.4.60',
            'scipy==1.8.0',
            'pyyaml==6.0',
            'rich==11.2.0',
            'setuptools==59.6.0',
            'matplotlib==3.5.1',
            'jinja2==3.0.3',
        ),
        wheels=False,
    ),
    'jazzy': Distribution(('3.12',), UBUNTU_24, wheels=True),
    'kilted': Distribution(('3.12',), UBUNTU_24, wheels=True),
    'lyrical': Distribution(
        ('3.14', '3.13'),
        (
            'numpy==2.3.5',
            'opencv-python-headless==4.10.0.84',
            'scipy==1.16.3',
            'pyyaml==6.0.3',
            'rich==13.9.4',
            'setuptools==78.1.1',
            'matplotlib==3.10.7',
            'jinja2==3.1.6',
        ),
        wheels=False,
    ),
}


@pytest.mark.parametrize('name', DISTRIBUTIONS)
def test_pip_brings_what_apt_does_not(name):
    requirements = metadata.requires('panoptic_ros') or []
    wanted = names([text.lower() for text in requirements if 'extra ==' not in text])
    from_apt = {text for text in wanted if APT_NAMES.get(text, f'python3-{text}') in APT_KEYS}
    pinned = names(lines_of(ROOT / 'requirements' / f'{name}.txt'))
    assert wanted - pinned <= from_apt
    assert 'onnxruntime' in wanted
    assert 'rosbags' in pinned


STAND_INS = """
set -euo pipefail
source() { case $1 in /opt/ros/*) ;; *) set +u; builtin source "$@"; set -u ;; esac; }
sudo() { :; }
rosdep() { :; }
ros2() { :; }
git() { cp -r "$CHECKOUT" "${!#}"; }
python3() { "$PYTHON" "$@"; }
"""
"""What a simulation has in place of ROS, apt and a clone; for bash."""

CHECKS = """
import importlib, pkgutil
from importlib import metadata
import cv2, numpy, onnx, onnxruntime, scipy.ndimage
from packaging.requirements import Requirement
import panoptic_ros

for text in metadata.requires('panoptic_ros'):
    wanted = Requirement(text)
    if not wanted.marker:
        assert metadata.version(wanted.name) in wanted.specifier, (
            text, metadata.version(wanted.name))
for module in pkgutil.walk_packages(panoptic_ros.__path__, 'panoptic_ros.', onerror=print):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert error.name.split('.')[0] in OPTIONAL, error
model = panoptic_ros.load(backend='onnxruntime', device='cpu')
frame = model.predict(numpy.full((256, 512, 3), 128, numpy.uint8))
assert len(frame.segments), frame
print('numpy', numpy.__version__, numpy.__file__)
"""
"""Run by the recipe's Python: packages new enough, all modules importable, an image segmented."""


def recipe() -> str:
    """Return the commands for machines with ROS 2 in docs/install.md."""
    section = (ROOT / 'docs/install.md').read_text().split('## On a machine with ROS 2')[1]
    return section.split('```')[1].replace('<this repository>', 'URL')


def find_python(versions: tuple[str, ...]) -> str:
    """An interpreter of the first version that is there, or skip."""
    for version in versions:
        pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')) / 'versions'
        for path in (shutil.which(f'python{version}'), *pyenv.glob(f'{version}.*/bin/python')):
            if path and not subprocess.run([path, '-c', ''], capture_output=True).returncode:
                return str(path)
    pytest.skip(f'needs Python {" or ".join(versions)}')


class Simulation:
    """A home with a distribution's packages in its user site."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.distribution = home, DISTRIBUTIONS[name]
        self.python = find_python(self.distribution.python)
        checkout, apt = home / 'checkout', home / 'apt'
        shutil.copytree(
            ROOT,
            checkout,
            ignore=shutil.ignore_patterns(
                '.*', 'build', 'install', 'log', 'runs', 'demo_output', '__pycache__', '*.egg-info'
            ),
        )
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(
                ('PYTHON', 'LD_LIBRARY_PATH', 'AMENT_', 'COLCON_', 'VIRTUAL_ENV', '_ROS_', 'ROS_')
            )
        }
        self.environment |= {
            'HOME': str(home),
            'PYTHONUSERBASE': str(apt),
            'PYTHON': self.python,
            'CHECKOUT': str(checkout),
            'ROS_DISTRO': name,
            'OMP_NUM_THREADS': '1',
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF',
            '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1',
        }
        self._install_apt(name)
        libraries = [apt / 'lib', *apt.glob('lib/python*/site-packages/*.libs')]
        self.environment['LD_LIBRARY_PATH'] = os.pathsep.join(map(str, libraries))

    def _install_apt(self, name: str) -> None:
        packages = [
            *self.distribution.apt,
            'colcon-common-extensions',
            'pytest',
            'hypothesis',
            'pytest-timeout',
        ]
        if self.distribution.wheels:
            packages += [
                text.replace('jazzy', name)
                for text in names(metadata.requires('panoptic_ros'))
                if text.startswith('ros-jazzy')
            ]
        result = subprocess.run(
            [self.python, '-m', 'pip', 'install', '--user', '--retries', '1', *packages],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if result.returncode and 'connection broken' in result.stderr:
            pytest.skip('PyPI is not reachable')
        assert result.returncode == 0, result.stderr

    def bash(self, script: str) -> str:
        """Run commands after the recipe's, and return what they print."""
        path = self.home / 'script.bash'
        path.write_text(STAND_INS + script)
        result = subprocess.run(
            ['bash', str(path)],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f'{result.stdout}\n{result.stderr}'
        return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('name', DISTRIBUTIONS)
def test_the_recipe_in_a_simulated_distribution(name, tmp_path):
    simulation = Simulation(tmp_path, name)
    (tmp_path / 'checks.py').write_text(f'OPTIONAL = {sorted(OPTIONAL)}\n{CHECKS}')
    after = 'cd ~/ros2_ws; source install/setup.bash\n'
    printed = simulation.bash(f'{recipe()}\n{after}.venv/bin/python ~/checks.py')
    assert ('ros2_ws/.venv' in printed.splitlines()[-1]) == (name == 'humble'), printed
    panoptic = 'install/panoptic_ros/lib/panoptic_ros/panoptic'
    assert 'city.onnx' in simulation.bash(f'{after}{panoptic} list models')
    simulation.bash(f"""{after}rm -r build install
        .venv/bin/python -m colcon build --packages-select panoptic_ros --symlink-install""")
    assert 'city.onnx' in simulation.bash(f'{after}{panoptic} list models')
    if simulation.distribution.wheels:
        simulation.bash(f"""{after}
            {panoptic}_node > ~/log 2>&1 & node=$!
            until grep -q "model is loaded" ~/log; do kill -0 $node; sleep 0.2; done
            kill -TERM $node; wait $node""")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_colcon_test_passes_without_torch(tmp_path):
    Simulation(tmp_path, 'jazzy').bash(f"""{recipe()}
        .venv/bin/python -m colcon test --packages-select panoptic_ros \\
            --pytest-args " -m" "not ros and not slow"
        .venv/bin/python -m colcon test-result --verbose""")
