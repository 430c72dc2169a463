# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's plug-in providers: a real one where it is installed, and a stand-in."""

import json
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from tiny_model import paint_scene

from panoptic_ros.cli.main import main
from panoptic_ros.runtime import BackendError, installed, open_backend, providers
from panoptic_ros.runtime.installed import plugin_states
from panoptic_ros.runtime.onnxruntime_backend import OnnxRuntimeBackend
from panoptic_ros.runtime.providers import add_provider, plugin_version, provider_names
from panoptic_ros.runtime.self_check import engine_version

THRESHOLDS = {'score_threshold': 0.5, 'min_area': 0.0}

PLUGIN = 'onnxruntime_ep_standin'

MODULE = """
from pathlib import Path
def get_library_path():
    return str(Path(__file__).with_name('libonnxruntime_providers_standin.so'))
def get_ep_names():
    return ['StandInExecutionProvider']
"""


def write_package(folder, name, text=MODULE, library='libonnxruntime_providers_standin.so'):
    package = folder / name
    package.mkdir()
    (package / '__init__.py').write_text(text)
    if library:
        (package / library).write_bytes(b'not a library')


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package of a plug-in, whose library ONNX Runtime cannot load."""
    write_package(tmp_path, PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    real = providers._register
    own = cache(real.__wrapped__)  # ONNX Runtime registers others once in a process
    monkeypatch.setattr(
        providers, '_register', lambda package: (own if package == PLUGIN else real)(package)
    )
    yield
    sys.modules.pop(PLUGIN, None)


class Options:
    """onnxruntime.SessionOptions, as far as it takes plug-ins."""

    added = None

    def add_provider_for_devices(self, devices, options):
        self.added = devices, options


def ep_device(kind, ep_name='StandInExecutionProvider', **metadata):
    device = SimpleNamespace(type=getattr(ort.OrtHardwareDeviceType, kind), vendor='Acme')
    return SimpleNamespace(ep_name=ep_name, device=device, ep_metadata=metadata)


@pytest.fixture
def devices(plugin, monkeypatch):
    """The devices of a plug-in that loads; registering it is noted."""
    found = [
        ep_device('CPU', 'CPUExecutionProvider'),
        ep_device('NPU', 'StandInExecutionProvider.AUTO'),
    ]
    registered = []
    monkeypatch.setattr(
        ort, 'register_execution_provider_library', lambda *names: registered.append(names)
    )
    monkeypatch.setattr(ort, 'get_ep_devices', lambda: found)
    yield found
    assert len(registered) <= 1, 'a library is registered once'


@pytest.mark.parametrize(
    ('kinds', 'wanted', 'taken'),
    [
        (('CPU', 'NPU', 'GPU'), 'auto', 'gpu'),
        (('CPU', 'NPU'), 'auto', 'npu'),
        (('CPU',), 'auto', 'cpu'),
        (('CPU', 'NPU', 'GPU'), 'npu', 'npu'),
        (('GPU', 'CPU'), 'cpu', 'cpu'),
    ],
)
def test_a_plugin_runs_on_its_best_device_or_the_one_wanted(devices, kinds, wanted, taken):
    devices += [ep_device(kind, version='1.2') for kind in kinds]
    options = Options()
    assert add_provider(options, 'standin', wanted) == ([], 'StandInExecutionProvider', taken)
    (chosen,), settings = options.added
    assert chosen.device.type.name == taken.upper() and settings == {}
    add_provider(options, 'standin', wanted)
    assert plugin_version('standin') == '1.2'
    backend = SimpleNamespace(name='onnxruntime/standin')
    assert engine_version(backend) == f'onnxruntime/standin 1.2 of onnxruntime {ort.__version__}'


def test_openvino_is_told_to_keep_the_numbers_of_the_graph(devices):
    devices.append(ep_device('GPU', ov_device='GPU.1'))
    options = Options()
    add_provider(options, 'standin', 'auto')
    assert options.added[1] == {'load_config': '{"GPU.1": {"EXECUTION_MODE_HINT": "ACCURACY"}}'}
    add_provider(options, 'standin', 'auto', threads=2)  # GPUs have no such setting
    assert options.added[1] == {'load_config': '{"GPU.1": {"EXECUTION_MODE_HINT": "ACCURACY"}}'}


def test_openvino_is_told_the_number_of_threads(devices):
    devices.append(ep_device('CPU', ov_device='CPU'))
    options = Options()
    add_provider(options, 'standin', 'auto', threads=2)
    assert json.loads(options.added[1]['load_config']) == {
        'CPU': {'EXECUTION_MODE_HINT': 'ACCURACY', 'INFERENCE_NUM_THREADS': '2'}
    }


def test_a_device_that_a_plugin_lacks_is_an_error(devices):
    with pytest.raises(
        BackendError,
        match='onnxruntime_ep_standin takes no device of this machine, where ONNX Runtime finds '
        'Acme cpu, Acme npu; install the driver of its hardware',
    ):
        add_provider(Options(), 'standin', 'auto')
    devices.append(ep_device('CPU'))
    with pytest.raises(BackendError, match='finds cpu here, but no npu; install its driver'):
        add_provider(Options(), 'standin', 'npu')
    with pytest.raises(BackendError, match="must be auto, gpu, npu, cpu, got 'cuda:1'"):
        add_provider(Options(), 'standin', 'cuda:1')


def test_packages_without_a_library_of_providers_are_no_plugins(plugin, tmp_path):
    write_package(tmp_path, 'onnxruntime_easy', library='')
    write_package(tmp_path, 'onnxruntime_qnn', library='libonnxruntime_providers_qnn.so')
    names = provider_names()
    assert names[0] == 'cpu' and {'standin', 'qnn'} <= set(names)
    assert not {'azure', 'easy'} & set(names)


def test_an_unknown_provider_is_told_what_there_is(tiny_model, plugin):
    with pytest.raises(BackendError, match=r"no provider 'standing' here, only cpu, ") as caught:
        open_backend(tiny_model, 'onnxruntime/standing')
    assert 'did you mean standin?' in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('damage', ['library', 'module'])
def test_a_plugin_that_cannot_be_loaded_is_an_error(tiny_model, plugin, damage):
    if damage == 'module':
        Path(sys.path[0], 'onnxruntime_ep_standin', '__init__.py').write_text('import no_such\n')
    reason = r'onnxruntime \S+ cannot load the plug-in onnxruntime_ep_standin: .*; install'
    with pytest.raises(BackendError, match=reason) as caught:
        open_backend(tiny_model, 'onnxruntime/standin')
    assert '\n' not in str(caught.value)
    backend = open_backend(tiny_model, 'onnxruntime/standin', allow_cpu=True)
    assert (backend.name, backend.device) == ('onnxruntime/cpu', 'cpu')
    assert 'cannot load the plug-in' in backend.fallback_reason


def test_a_provider_of_the_build_is_found_by_its_short_name(tiny_model, monkeypatch):
    """A build with another provider; ONNX Runtime ignores the one that it does not have."""
    monkeypatch.setattr(
        ort, 'get_available_providers', lambda: ['DoomExecutionProvider', 'CPUExecutionProvider']
    )
    providers._built_in.cache_clear()
    try:
        assert provider_names()[:2] == ['doom', 'cpu']
        taken = add_provider(Options(), 'doom', 'auto')
        assert taken == (
            ['DoomExecutionProvider', 'CPUExecutionProvider'],
            'DoomExecutionProvider',
            'its own choice',
        )
        with pytest.raises(BackendError, match=r'doom chooses its device itself; set .* to auto'):
            add_provider(Options(), 'doom', 'npu')
    finally:
        providers._built_in.cache_clear()


def test_a_provider_that_runs_nothing_is_refused(tiny_model):
    """Azure's provider is in every build, and runs no operator of a model file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'panoptic_ros.runtime.onnxruntime_backend.add_provider',
            lambda *_: (['AzureExecutionProvider', 'CPUExecutionProvider'], providers.REMOTE, ''),
        )
        if not hasattr(ort.InferenceSession, 'get_provider_graph_assignment_info'):
            pytest.skip('this ONNX Runtime does not tell what a provider runs')
        with pytest.raises(BackendError, match=r'runs none of the \d+ operators'):
            OnnxRuntimeBackend(tiny_model, 'auto', 'azure')


def test_openvino_computes_the_same(tiny_model):
    pytest.importorskip('onnxruntime_ep_openvino')
    state = plugin_states()['onnxruntime/openvino']
    if not state.device:  # as on processors of other makers than Intel
        pytest.skip(state.reason)
    backend = open_backend(tiny_model, 'onnxruntime/openvino')
    assert (backend.name, backend.device) == ('onnxruntime/openvino', 'cpu')
    assert engine_version(backend).startswith('onnxruntime/openvino 1.')
    image = paint_scene(64, 128)
    expected = open_backend(tiny_model, 'onnxruntime', 'cpu').run(image, THRESHOLDS)
    for name, ours, theirs in zip(
        expected._fields, backend.run(image, THRESHOLDS), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=name)


def test_plugins_are_listed_with_their_devices(devices, monkeypatch):
    monkeypatch.setattr(installed, 'plugin_packages', lambda: {'standin': PLUGIN})
    reason = plugin_states()['onnxruntime/standin'].reason
    assert reason.startswith('the plug-in onnxruntime_ep_standin takes no device of this machine')
    devices += [ep_device('CPU'), ep_device('GPU')]
    assert plugin_states()['onnxruntime/standin'] == ('', 'gpu', '')


def test_plugins_are_listed_with_their_versions(plugin, capsys):
    assert main(['list', 'backends']) == 0
    rows = {
        line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[3:-1]
    }
    assert ' '.join(rows['onnxruntime/standin']).startswith(
        f'onnxruntime {ort.__version__} cannot load the plug-in onnxruntime_ep_standin: '
    )
    assert rows['onnxruntime'][0] == ort.__version__
