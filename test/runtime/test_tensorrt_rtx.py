# SPDX-License-Identifier: Apache-2.0
"""Engines of the real TensorRT-RTX, whose parser and builder need no GPU."""

import threading

import onnx
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper
from roi_graph import make_graph
from stand_in_tensorrt import Device, make_module

from panoptic_ros.core.model_file import ModelFileError
from panoptic_ros.runtime import BackendError, open_backend
from panoptic_ros.runtime.engine_build import EngineBuild, build_engine
from panoptic_ros.runtime.engine_cache import read_engine
from panoptic_ros.runtime.gpu import gpu_names
from panoptic_ros.runtime.tensorrt_backend import build_ahead
from panoptic_ros.runtime.tensorrt_library import import_library


def test_an_engine_is_built_without_a_gpu(tiny_model, tmp_path):
    cache = tmp_path / 'engines'
    progress = EngineBuild()
    engine, target = build_ahead(tiny_model, 'fp32', 'tensorrt_rtx', 'cuda', cache, progress)
    assert target == f'tensorrt_rtx {tensorrt_rtx.__version__} on GPUs from Ampere on'
    assert engine.parent == cache
    plan = read_engine(engine)
    assert plan is not None and len(plan) > 10_000
    assert progress.phase  # the library has reported its phases
    written = engine.stat().st_mtime_ns
    assert build_ahead(tiny_model, 'fp32', 'auto', 'cuda', cache)[0] == engine
    assert engine.stat().st_mtime_ns == written


def test_progress_comes_from_the_library(tiny_model):
    class Recorder(EngineBuild):
        def step(self, name, number):
            proceed = super().step(name, number)
            shares.append(self.share)
            return proceed

    shares: list[float] = []
    build_engine(import_library('tensorrt_rtx'), tiny_model, Recorder())
    assert shares == sorted(shares) and len(set(shares)) > 5
    assert 0 <= shares[0] < 0.5 < shares[-1] <= 1


def test_a_build_can_be_cancelled(tiny_model):
    with pytest.raises(BackendError, match='was cancelled'):
        build_engine(import_library('tensorrt_rtx'), tiny_model, EngineBuild(cancelled=True))


def test_other_threads_run_during_a_build(tiny_model):
    ticks, ended = [], threading.Event()

    def tick():
        while not ended.wait(0.002):
            ticks.append(progress.share)

    progress = EngineBuild()
    thread = threading.Thread(target=tick)
    thread.start()
    build_engine(import_library('tensorrt_rtx'), tiny_model, progress)
    ended.set()
    thread.join()
    assert len({share for share in ticks if share is not None}) > 1


@pytest.mark.parametrize('opset', [16, 20])
def test_roi_align_is_built(tmp_path, opset):
    onnx.save(make_graph((16, 32), 7, 1 / 4, opset=opset), tmp_path / 'model.onnx')
    library = import_library('tensorrt_rtx')
    assert build_engine(library, tmp_path / 'model.onnx', EngineBuild())


@pytest.mark.parametrize(
    ('operator', 'kind', 'name', 'reason'),
    [
        ('Transpose', TensorProto.UINT8, 'turn', "Transpose 'turn': .*UInt8"),
        ('Det', TensorProto.FLOAT, '', 'Det: it has no such operator; set another backend'),
        ('Det', TensorProto.FLOAT, 'long' * 500, r"Det '(long)+\.\.\.: it has no such operator"),
    ],
)
def test_a_refused_operator_is_named_in_one_line(tmp_path, operator, kind, name, reason):
    value = helper.make_tensor_value_info
    node = helper.make_node(operator, ['image'], ['result'], name=name)
    graph = helper.make_graph(
        [node],
        'g',
        [value('image', kind, [4, 4])],
        [value('result', kind, [4, 4] if operator == 'Transpose' else [])],
    )
    path = tmp_path / 'model.onnx'
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)]), path)
    with pytest.raises(ModelFileError, match=f'tensorrt_rtx does not accept {reason}') as caught:
        build_engine(import_library('tensorrt_rtx'), path, EngineBuild())
    assert '\n' not in str(caught.value)


@pytest.mark.skipif(bool(gpu_names()), reason='there is a GPU here')
def test_without_a_gpu_nothing_is_built_to_run(tiny_model, tmp_path):
    with pytest.raises(BackendError, match="backend 'tensorrt_rtx' needs a GPU: no NVIDIA GPU"):
        open_backend(tiny_model, 'tensorrt_rtx', engine_cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def names_of(cls):
    return {name for name in vars(cls) if not name.startswith('_')}


def test_the_stand_in_has_names_of_the_library_only():
    stand_in = make_module('1.7.1.116', Device())
    assert names_of(stand_in) <= set(dir(tensorrt_rtx))
    for name in ('Builder', 'OnnxParser', 'Runtime'):
        own = names_of(getattr(stand_in, name))
        assert own and own <= set(dir(getattr(tensorrt_rtx, name)))
    for name in ('BuilderFlag', 'NetworkDefinitionCreationFlag'):
        assert set(getattr(stand_in, name).__members__) <= set(
            getattr(tensorrt_rtx, name).__members__
        )
    assert {'deserialize', 'serialize'} <= set(dir(tensorrt_rtx.IRuntimeCache))
    assert {'create_runtime_cache', 'set_runtime_cache'} <= set(dir(tensorrt_rtx.IRuntimeConfig))
    engine = {'create_runtime_config', 'create_execution_context', 'num_io_tensors'}
    assert engine <= set(dir(tensorrt_rtx.ICudaEngine))
