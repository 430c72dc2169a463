# SPDX-License-Identifier: Apache-2.0
"""`panoptic list backends`: what is installed, in which version, for which device, or why not."""

import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from panoptic_ros.cli.main import main
from panoptic_ros.runtime import BACKENDS, available_backends, installed
from panoptic_ros.runtime.installed import backend_states


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets packages by module, with project and version, and the GPUs."""

    def set_up(packages, gpus=()):
        versions = dict(packages.values())

        def version(project):
            if project not in versions:
                raise metadata.PackageNotFoundError(project)
            return versions[project]

        monkeypatch.setattr(installed, 'find_spec', lambda name: packages.get(name))
        monkeypatch.setattr(installed.metadata, 'version', version)
        monkeypatch.setattr(installed, 'gpu_names', lambda: gpus)

    return set_up


def test_a_workstation_without_a_gpu(machine):
    machine({'tensorrt_rtx': ('tensorrt_rtx', '1.7.1'), 'onnxruntime': ('onnxruntime', '1.31')})
    states = backend_states()
    assert tuple(states) == BACKENDS
    version, device, reason = states['tensorrt']
    assert (version, device) == ('', '') and 'pip install tensorrt cuda-python' in reason
    version, device, reason = states['tensorrt_rtx']
    assert (version, device) == ('1.7.1', '')
    assert 'no NVIDIA GPU or driver was found; `panoptic build` works without one' in reason
    assert states['onnxruntime'] == ('1.31', 'cpu', '')
    assert 'pip install torch' in states['torch'].reason
    assert available_backends() == {name: state.reason for name, state in states.items()}


@pytest.mark.parametrize('sees_gpu', [False, True])
def test_a_robot_with_a_gpu(machine, monkeypatch, sees_gpu):
    machine(
        {
            'tensorrt': ('tensorrt-cu13', '11.4'),
            'onnxruntime': ('onnxruntime-gpu', '1.31'),
            'torch': ('torch', '2.15'),
        },
        ('Orin [1]', 'other'),
    )
    providers = ['CPUExecutionProvider', *(['CUDAExecutionProvider'] if sees_gpu else [])]
    engines = {
        'onnxruntime': SimpleNamespace(get_available_providers=lambda: providers),
        'torch': SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: sees_gpu)),
    }
    for name, module in engines.items():
        monkeypatch.setitem(sys.modules, name, module)
    states = backend_states()
    device = 'cuda:0 (Orin [1])' if sees_gpu else 'cpu'
    assert states['tensorrt'] == ('11.4', 'cuda:0 (Orin [1])', '')
    assert states['onnxruntime'] == ('1.31', device, '')
    assert states['torch'] == ('2.15', device, '')


def test_a_package_that_does_not_import_says_so(machine, monkeypatch):
    machine({'torch': ('another name', '1')}, ('GPU',))
    monkeypatch.setitem(sys.modules, 'torch', None)
    version, device, reason = backend_states()['torch']
    assert (version, device) == ('', '')
    assert reason.startswith('it cannot be imported: ')


def test_the_table_shows_names_in_brackets(machine, monkeypatch, capsys):
    machine({'tensorrt': ('tensorrt', '11.4')}, ('Orin [1]',))
    monkeypatch.setenv('COLUMNS', '200')
    assert main(['list', 'backends']) == 0
    out = capsys.readouterr().out
    for text in ('tensorrt ', '11.4', 'cuda:0 (Orin [1])', '"panoptic_ros[tensorrt_rtx]"'):
        assert text in out
