# SPDX-License-Identifier: Apache-2.0
"""`panoptic build` with stand-ins of TensorRT: what it prints and where it writes."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from stand_in_tensorrt import GPU, Device, modules

from panoptic_ros.cli.main import main
from panoptic_ros.runtime import gpu, tensorrt_backend

HELPERS = Path(__file__).parents[1] / 'helpers'


@pytest.fixture
def device(monkeypatch):
    device = Device()
    for name, module in modules('10.3.0', device).items():
        monkeypatch.setitem(sys.modules, name, module)
    for module in (gpu, tensorrt_backend):
        monkeypatch.setattr(module, 'gpu_names', lambda: (GPU,))
    return device


def test_an_engine_is_built_and_named(device, tiny_model, tmp_path, capsys):
    arguments = ['build', str(tiny_model), '--engine-cache-dir', str(tmp_path / 'new')]
    for _ in range(2):
        assert main(arguments) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith('engine of tiny for tensorrt 10.3.0 on Test GPU/1; saved to ')
        assert Path(line.split(' saved to ')[1]).stat().st_size
    assert device.built == ['10.3.0']


def test_the_default_is_the_packaged_model_and_the_users_cache(
    device, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert main(['build']) == 0
    (engine,) = (tmp_path / 'panoptic_ros' / 'engines').iterdir()
    assert str(engine) in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        ({'refuses': 'no such layer'}, "tensorrt does not accept Conv 'node_7': no such layer"),
        ({'fails': 'out of memory'}, 'tensorrt has not enough memory for the engine: out of mem'),
        ({'arguments': ['--backend', 'tensorrt_rtx']}, 'pip install "panoptic_ros[tensorrt_rtx]"'),
        ({'arguments': ['--device', 'cpu']}, 'tensorrt needs a GPU, got device cpu'),
        ({'arguments': ['--device', 'cuda:4']}, "'cuda:4' is not available: the driver lists 1"),
        (
            {'arguments': ['--engine-cache-dir', '/dev/null']},
            'engines cannot be kept in /dev/null',
        ),
        ({'model': 'missing.onnx'}, 'missing.onnx'),
    ],
)
def test_what_goes_wrong_is_one_line(device, tiny_model, tmp_path, capsys, change, line):
    device.refuses, device.fails = change.get('refuses', ''), change.get('fails', '')
    arguments = ['--engine-cache-dir', str(tmp_path), *change.get('arguments', [])]
    assert main(['build', change.get('model', str(tiny_model)), *arguments]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith('panoptic: error: ') and line in message
    assert list(tmp_path.iterdir()) == []


@contextmanager
def endless_build(model, cache, more=''):
    """Start a build of the stand-in that never ends by itself, and yield its process."""
    code = (
        'import stand_in_tensorrt; stand_in_tensorrt.install("11.4.0.106", 60)\n'
        f'import sys; from panoptic_ros.cli.main import main\n{more}\nsys.exit(main())'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code, 'build', model, '--engine-cache-dir', cache],
        env=os.environ | {'PYTHONPATH': str(HELPERS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end_s = time.monotonic() + 60
        while not list(cache.glob('*.building')):
            assert process.poll() is None and time.monotonic() < end_s
            time.sleep(0.02)
        yield process
    finally:
        process.kill()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_build_and_leaves_no_engine(tiny_model, tmp_path, number):
    cache = tmp_path / 'engines'
    with endless_build(tiny_model, cache) as process:
        process.send_signal(number)
        assert process.wait(20) in (130, -number)
        assert 'Traceback' not in process.stderr.read()
    assert not [path for path in cache.rglob('*') if re.search('plan', path.name)]


def test_a_second_ctrl_c_does_not_wait_for_the_library(tiny_model, tmp_path):
    """The library's step takes a minute, in which Python's own end could crash."""
    long_step = (
        'import atexit, time; wait = time.sleep; atexit.register(print, "end", file=sys.stderr)\n'
        'stand_in_tensorrt.time.sleep = lambda step_s: wait(60)\n'
        'import panoptic_ros.cli.build as build; build.CANCEL_S = 60'
    )
    with endless_build(tiny_model, tmp_path / 'engines', long_step) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == ''
