# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend's own work with each version's names: build, cache, memory, copies.

TensorRT needs a GPU; stand_in_tensorrt.py has what takes its place. test_tensorrt_rtx.py builds
with the real TensorRT-RTX.
"""

import gc
import os
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from roi_graph import make_graph
from stand_in_tensorrt import GPU, KERNELS, KINDS, Device, graph_of, modules
from tiny_model import paint_scene

from panoptic_ros.core.files import lock_folder
from panoptic_ros.core.model_file import ModelFileError, file_hash, read_info, write_model_file
from panoptic_ros.core.model_info import OUTPUTS
from panoptic_ros.runtime import (
    BackendError,
    engine_cache,
    gpu,
    open_backend,
    select,
    tensorrt_backend,
)
from panoptic_ros.runtime.engine_build import EngineBuild, build_engine
from panoptic_ros.runtime.engine_cache import DIGEST_BYTES, read_engine
from panoptic_ros.runtime.tensorrt_backend import build_ahead
from panoptic_ros.runtime.tensorrt_library import import_library

THRESHOLDS = {'score_threshold': 0.7, 'min_area': 0.0}


@pytest.fixture(params=KINDS)
def version(request):
    return request.param


@pytest.fixture
def device(monkeypatch, version):
    device = Device()
    for name, module in modules(version, device).items():
        monkeypatch.setitem(sys.modules, name, module)
    for module in (gpu, select, tensorrt_backend):
        monkeypatch.setattr(module, 'gpu_names', lambda: (GPU,))
    return device


one_version = pytest.mark.parametrize('version', ['11.4.0.106'], indirect=True)
"""Mark of tests of what does not depend on the version."""

with_kernels = pytest.mark.parametrize('version', ['1.7.1.116'], indirect=True)


def open_tensorrt(model, version, cache, **options):
    return open_backend(model, KINDS[version], engine_cache_dir=cache, **options)


def stem(model, version):
    target = 'ampere+' if KINDS[version] == 'tensorrt_rtx' else 'Test-GPU-1'
    return f'{file_hash(model)}-{KINDS[version]}{version}-{target}-fp32'


def test_outputs_equal_those_of_onnxruntime(device, version, tiny_model, tmp_path):
    backend = open_tensorrt(tiny_model, version, tmp_path)
    expected = open_backend(tiny_model, 'onnxruntime', 'cpu')
    for size in ((64, 128), (32, 128)):
        image = np.zeros((64, 128, 3), np.uint8)
        image[: size[0]] = paint_scene(*size)
        for actual, value in zip(
            backend.run(image, THRESHOLDS), expected.run(image, THRESHOLDS), strict=True
        ):
            np.testing.assert_array_equal(actual, value)
            assert actual.dtype == value.dtype
    assert (backend.name, backend.device, backend.precision) == (KINDS[version], 'cuda:0', 'fp32')


@one_version
def test_a_model_without_embeddings_runs(device, version, tiny_model, tmp_path):
    model = onnx.load(tiny_model)
    info = replace(read_info(tiny_model), embedding_dim=0)
    for node in model.graph.node:
        node.output[:] = ['four' if name == 'embedding' else name for name in node.output]
    for name, value in (('zero', 0), ('one', 1)):
        tensor = numpy_helper.from_array(np.array([value]), name)
        model.graph.initializer.append(tensor)
    node = onnx.helper.make_node('Slice', ['four', 'zero', 'zero', 'one'], ['embedding'])
    model.graph.node.append(node)
    output = next(value for value in model.graph.output if value.name == 'embedding')
    output.type.tensor_type.shape.dim[1].dim_value = 0
    write_model_file(model, info, tmp_path / 'none.onnx')
    backend = open_tensorrt(tmp_path / 'none.onnx', version, tmp_path)
    out = backend.run(paint_scene(64, 128), THRESHOLDS)
    assert out.embedding.shape == (6, 0) and out.valid.any()


def test_an_engine_is_built_once_for_each_file_and_version(
    device, version, tiny_model, tmp_path, monkeypatch
):
    cache = tmp_path / 'made' / 'on demand'
    for _ in range(2):
        open_tensorrt(tiny_model, version, cache)
    assert device.built == [version]
    plan = cache / f'{stem(tiny_model, version)}.plan'
    assert plan in cache.iterdir()
    assert {file.suffix for file in cache.iterdir()} <= {'.plan', '.kernels'}
    assert {cache.stat().st_mode & 0o777} == {0o700}
    assert {file.stat().st_mode & 0o777 for file in cache.iterdir()} == {0o644}
    other = tmp_path / 'other.onnx'
    other.write_bytes(tiny_model.read_bytes() + b'')
    model = onnx.load(other)
    model.doc_string = 'another file'
    onnx.save(model, other)
    open_tensorrt(other, version, cache)
    assert device.built == [version] * 2
    updated = import_library(KINDS[version]).module
    monkeypatch.setattr(updated, '__version__', '99.1')
    open_tensorrt(tiny_model, version, cache)
    assert device.built == [version] * 3


def test_the_node_finds_an_engine_that_was_built_ahead(device, version, tiny_model, tmp_path):
    for expected in ([version], [version]):
        engine, target = build_ahead(tiny_model, 'fp32', 'auto', 'cuda', tmp_path)
        assert device.built == expected
    assert engine == tmp_path / f'{stem(tiny_model, version)}.plan'
    gpus = 'GPUs from Ampere on' if KINDS[version] == 'tensorrt_rtx' else GPU
    assert target == f'{KINDS[version]} {version} on {gpus}'
    open_tensorrt(tiny_model, version, tmp_path)
    assert device.built == [version]


@one_version
def test_tensorrt_ahead_of_time_needs_its_gpu(device, tiny_model, tmp_path, monkeypatch):
    with pytest.raises(BackendError, match='tensorrt needs a GPU, got device cpu'):
        build_ahead(tiny_model, 'fp32', 'tensorrt', 'cpu', tmp_path)
    monkeypatch.setattr(gpu, 'gpu_names', tuple)
    with pytest.raises(BackendError, match=r'no NVIDIA GPU .*; tensorrt_rtx cannot be imported'):
        build_ahead(tiny_model, 'fp32', 'auto', 'cuda', tmp_path)
    assert list(tmp_path.iterdir()) == []


@one_version
def test_a_graph_is_built_without_roi_align(device, version, tmp_path):
    path = tmp_path / 'model.onnx'
    onnx.save(make_graph((8, 8), 4, 0.5), path)
    plan = build_engine(import_library(KINDS[version]), path, EngineBuild())
    kinds = {node.op_type for node in graph_of(plan).graph.node}
    assert 'GridSample' in kinds and 'RoiAlign' not in kinds
    onnx.save(make_graph((8, 8), 4, 0.5, mode='max'), path)
    with pytest.raises(ModelFileError, match=r"model\.onnx: RoiAlign 'pool' must average"):
        build_engine(import_library(KINDS[version]), path, EngineBuild())


@one_version
def test_an_engine_that_another_process_builds_is_refused(device, version, tiny_model, tmp_path):
    with lock_folder(tmp_path / f'{stem(tiny_model, version)}.building', 'engine build'):
        with pytest.raises(BackendError, match=r'in use by another engine build \(process \d+\)'):
            open_tensorrt(tiny_model, version, tmp_path)
        assert device.built == []
    assert open_tensorrt(tiny_model, version, tmp_path)  # a killed build's folder is no obstacle
    assert [file.suffix for file in tmp_path.iterdir()] == ['.plan']


@one_version
def test_an_engine_built_meanwhile_is_used(device, version, tiny_model, tmp_path, monkeypatch):
    @contextmanager
    def lock_after_another(folder, work):
        next(tmp_path.glob('*.other')).rename(folder.with_suffix('.plan'))
        yield

    open_tensorrt(tiny_model, version, tmp_path)
    plan = next(tmp_path.glob('*.plan'))
    plan.rename(plan.with_suffix('.other'))
    monkeypatch.setattr(engine_cache, 'lock_folder', lock_after_another)
    open_tensorrt(tiny_model, version, tmp_path)
    assert device.built == [version]


@one_version
@pytest.mark.parametrize(
    'damage', [bytes, lambda data: data[:9], lambda data: data[:500] + b'x' + data[501:]]
)
def test_a_damaged_engine_is_built_again(device, version, tiny_model, tmp_path, damage, caplog):
    open_tensorrt(tiny_model, version, tmp_path)
    plan = next(tmp_path.glob('*.plan'))
    whole = plan.read_bytes()
    plan.write_bytes(damage(whole) if damage is not bytes else b'')
    open_tensorrt(tiny_model, version, tmp_path)
    assert device.built == [version] * 2
    assert plan.read_bytes() == whole
    assert [record.message for record in caplog.records if record.levelname == 'WARNING'] == [
        f'the engine {plan} is damaged and is built again'
    ]


@one_version
def test_what_is_no_file_in_place_of_an_engine(device, version, tiny_model, tmp_path):
    plan = tmp_path / f'{stem(tiny_model, version)}.plan'
    plan.mkdir()
    with pytest.raises(BackendError, match=f'engine {plan}: Is a directory; remove it, or choose'):
        open_tensorrt(tiny_model, version, tmp_path)
    plan.rmdir()
    os.mkfifo(plan)
    assert open_tensorrt(tiny_model, version, tmp_path)
    assert plan.is_file()


@one_version
def test_an_engine_of_another_version_is_named(device, version, tiny_model, tmp_path):
    plan = tmp_path / f'{stem(tiny_model, version)}.plan'
    engine_cache.write_engine(b'engine of 10.0', plan)
    with pytest.raises(
        BackendError,
        match=rf'tensorrt {version} cannot use the engine .*\.plan: Serialization: the version ',
    ):
        open_tensorrt(tiny_model, version, tmp_path)


@one_version
def test_engines_that_other_users_can_change_are_refused(
    device, version, tiny_model, tmp_path, monkeypatch
):
    cache = tmp_path / 'cache'
    open_tensorrt(tiny_model, version, cache)
    plan = next(cache.glob('*.plan'))
    for place in (cache, plan):
        for mode in (0o020, 0o002):
            right = place.stat().st_mode
            place.chmod(right | mode)
            with pytest.raises(BackendError, match=f'other users can write to {place}, .* chmod'):
                open_tensorrt(tiny_model, version, cache)
            place.chmod(right)
    cache.chmod(0o755)  # others may read
    open_tensorrt(tiny_model, version, cache)
    real = os.fstat
    monkeypatch.setattr(
        engine_cache.os, 'fstat', lambda f: os.stat_result([*real(f)[:4], 1234, *real(f)[5:]])
    )
    with pytest.raises(BackendError, match=rf'{plan} belongs to user 1234, .* remove it'):
        open_tensorrt(tiny_model, version, cache)
    assert device.built == [version]


@one_version
def test_a_cache_that_is_no_folder_is_one_line(device, version, tiny_model, tmp_path):
    for place in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        (tmp_path / 'file').write_text('')
        with pytest.raises(BackendError, match=f'engines cannot be kept in {place}: .*; choose'):
            open_tensorrt(tiny_model, version, place)
    assert device.built == []


@one_version
@pytest.mark.parametrize('attribute', ['lock_folder', 'atomic_write'])
def test_an_engine_that_cannot_be_written_leaves_nothing(
    device, version, tiny_model, tmp_path, monkeypatch, attribute
):
    def fail(path, *arguments):
        raise OSError(30, 'Read-only file system', str(path))

    monkeypatch.setattr(engine_cache, attribute, fail)
    with pytest.raises(BackendError, match=f'kept in {tmp_path}: Read-only file system; choose'):
        open_tensorrt(tiny_model, version, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert bool(device.built) == (attribute == 'atomic_write')


def test_a_graph_that_is_refused_is_one_line(device, version, tiny_model, tmp_path):
    device.refuses = 'no such\nlayer'
    with pytest.raises(
        ModelFileError, match=f"{KINDS[version]} does not accept Conv 'node_7': no such layer"
    ):
        open_tensorrt(tiny_model, version, tmp_path)
    device.refuses, device.fails = '', 'Cannot compile operation node_matmul'
    with pytest.raises(ModelFileError, match='build an engine: Cannot compile operation node_'):
        open_tensorrt(tiny_model, version, tmp_path)
    device.fails = 'Requested amount of GPU memory could not be allocated'
    with pytest.raises(BackendError, match='has not enough memory for the engine: Requested'):
        open_tensorrt(tiny_model, version, tmp_path)
    assert list(tmp_path.iterdir()) == []


@one_version
def test_a_version_without_typed_networks_is_refused(device, version, tiny_model, tmp_path):
    module = sys.modules['tensorrt']
    module.__version__, module.NetworkDefinitionCreationFlag = '8.6.1', object()
    with pytest.raises(BackendError, match=r'tensorrt 8\.6\.1 is too old, version 10 or later'):
        open_tensorrt(tiny_model, version, tmp_path)


def test_a_cancelled_build_leaves_nothing(device, version, tiny_model, tmp_path):
    progress = EngineBuild(cancelled=True)
    with pytest.raises(BackendError, match='was cancelled'):
        open_tensorrt(tiny_model, version, tmp_path, progress=progress)
    assert list(tmp_path.iterdir()) == []
    assert progress.share is None


def test_others_see_the_progress_of_a_build(device, version, tiny_model, tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr('time.sleep', lambda s: shares.append(round(progress.share, 2)))
    progress = EngineBuild()
    open_tensorrt(tiny_model, version, tmp_path, progress=progress)
    assert shares == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]
    assert (progress.share, progress.phase) == (None, 'Timing')


def test_the_share_never_falls_and_knows_phases_inside_phases():
    build, shares = EngineBuild(), []

    def step(name, number):
        assert build.step(name, number)
        shares.append(round(build.share, 3))

    build.start('all', None, 4)
    step('all', 0)
    build.start('part', 'all', 2)
    build.start('grain', 'part', 5)
    step('grain', 1)
    build.finish('grain')
    step('part', 0)
    build.start('grain', 'part', 5)  # names are used again
    step('grain', 0)
    build.finish('grain')
    build.finish('part')
    step('all', 3)
    step('unknown', 3)
    build.begin()
    step('unknown', 3)
    assert shares == [0.25, 0.3, 0.375, 0.4, 1.0, 1.0, 0.0]


def test_memory_is_freed_with_the_backend(device, version, tiny_model, tmp_path):
    backend = open_tensorrt(tiny_model, version, tmp_path)
    assert device.streams and len(device.memory) == 3 + len(OUTPUTS)
    del backend
    gc.collect()
    assert not device.streams and not device.memory


@one_version
def test_a_full_device_is_reported(device, version, tiny_model, tmp_path):
    device.full = True
    with pytest.raises(BackendError, match='cudaMalloc failed: cudaErrorMemoryAllocation'):
        open_tensorrt(tiny_model, version, tmp_path)


@with_kernels
def test_compiled_kernels_are_kept_for_the_next_start(device, version, tiny_model, tmp_path):
    open_tensorrt(tiny_model, version, tmp_path)
    kernels = tmp_path / f'{stem(tiny_model, version)}-Test-GPU-1.kernels'
    written = kernels.stat().st_mtime_ns
    open_tensorrt(tiny_model, version, tmp_path)
    assert device.kernels == [b'', KERNELS + b' compiled']
    assert kernels.stat().st_mtime_ns == written
    engine_cache.write_engine(b'of another driver', kernels)
    open_tensorrt(tiny_model, version, tmp_path)
    assert device.kernels[2] == b''
    assert read_engine(kernels) == KERNELS + b' compiled'
    kernels.chmod(0o666)
    with pytest.raises(BackendError, match='other users can write'):
        open_tensorrt(tiny_model, version, tmp_path)


@with_kernels
def test_a_start_without_a_place_for_kernels_works(
    device, version, tiny_model, tmp_path, monkeypatch
):
    open_tensorrt(tiny_model, version, tmp_path)
    next(tmp_path.glob('*.kernels')).unlink()

    def fail(path):
        raise OSError(30, 'Read-only file system', str(path))

    monkeypatch.setattr(engine_cache, 'atomic_write', fail)
    assert open_tensorrt(tiny_model, version, tmp_path)


def test_auto_prefers_what_is_installed(device, version, tiny_model, tmp_path):
    assert open_backend(tiny_model, engine_cache_dir=tmp_path).name == KINDS[version]


def test_the_file_of_an_engine_ends_in_its_digest(tmp_path):
    engine_cache.write_engine(b'engine', tmp_path / 'x.plan')
    assert len((tmp_path / 'x.plan').read_bytes()) == 6 + DIGEST_BYTES
    assert read_engine(tmp_path / 'x.plan') == b'engine'
    assert read_engine(tmp_path / 'missing.plan') is None
