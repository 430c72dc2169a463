# SPDX-License-Identifier: Apache-2.0
"""Calibration in the graph: other scores, the same decisions, on every engine."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tiny_model import make_tiny_model, paint_scene, tiny_graph, tiny_info

from panoptic_ros.core.calibration import calibrate_outputs, scale
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import load_onnx, read_info, write_model_file
from panoptic_ros.core.model_info import Scaling
from panoptic_ros.core.resources import STREET_PICTURE, default_model
from panoptic_ros.runtime.calibrated_graph import add_calibration
from panoptic_ros.runtime.load import load
from panoptic_ros.runtime.select import open_backend

CALIBRATIONS = [
    {'score': Scaling(0.6, -1.5), 'confidence': Scaling(1.4, 0.2)},
    {'score': Scaling(3.0, 1.0)},
    {'confidence': Scaling(0.5, -0.5)},
]


def calibrated(source, path, calibration):
    model = load_onnx(source)
    info = add_calibration(model, read_info(source), calibration)
    write_model_file(model, info, path)
    assert read_info(path) == info and info.calibration == calibration
    return path


def outputs_of(path, image, backend='onnxruntime', **thresholds):
    predictor = load(path, backend, 'cpu', threads=1)
    pixels, geometry = predictor.prepare(CameraImage(image))
    return predictor.run(pixels, geometry, thresholds)


def assert_calibrated(ours, raw, calibration):
    """Check that outputs are those of the raw model with the calibration of `core`.

    A confidence that lies between two steps may be rounded to either.
    """
    expected = calibrate_outputs(raw, calibration)
    for name, value in expected._asdict().items():
        found = getattr(ours, name)
        if value.dtype.kind == 'f':
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert (found != value).mean() <= (1e-4 if name == 'confidence' else 0), name
        assert found.dtype == value.dtype, name


@pytest.mark.parametrize('calibration', CALIBRATIONS)
def test_scores_change_and_decisions_stay(tiny_model, tmp_path, calibration):
    path = calibrated(tiny_model, tmp_path / 'a.onnx', calibration)
    scaling = calibration.get('score', Scaling())
    image = paint_scene(64, 128)
    assert_calibrated(outputs_of(path, image), outputs_of(tiny_model, image), calibration)
    counts = set()
    for raw_threshold in (0.0, 0.6, 0.7, 0.8, 0.82, 0.9, 0.93, 1.0):
        raw = outputs_of(tiny_model, image, score_threshold=raw_threshold)
        ours = outputs_of(path, image, score_threshold=float(scale(raw_threshold, scaling)))
        assert_calibrated(ours, raw, calibration)
        counts.add(int(raw.valid.sum()))
    assert len(counts) > 3 and 0 in counts


def test_a_graph_of_a_batch_is_calibrated(tmp_path):
    calibration, image = CALIBRATIONS[0], paint_scene(64, 128)
    double = make_tiny_model(tmp_path / 'double.onnx', batch=2)
    path = calibrated(double, tmp_path / 'a.onnx', calibration)
    thresholds = {'score_threshold': scale(0.88, calibration['score'])}
    ours = outputs_of(path, image, **thresholds)
    assert_calibrated(ours, outputs_of(double, image, score_threshold=0.88), calibration)
    assert ours.valid.sum() == 2


def test_the_packaged_model_finds_the_same_segments(tmp_path):
    calibration = CALIBRATIONS[0]
    path = calibrated(default_model(), tmp_path / 'a.onnx', calibration)
    before, after = (load(p, 'onnxruntime', 'cpu', threads=1) for p in (default_model(), path))
    street = cv2.cvtColor(cv2.imread(str(STREET_PICTURE)), cv2.COLOR_BGR2RGB)
    found = 0
    for i in range(6):
        image = np.roll(street, 70 * i, axis=1)[:, :: 1 + i % 2]
        for threshold in (None, 0.3, 0.9):
            raw, ours = {}, {}
            if threshold is not None:
                raw['score_threshold'] = threshold
                ours['score_threshold'] = float(scale(threshold, calibration['score']))
            pixels, geometry = before.prepare(CameraImage(image))
            expected = before.run(pixels, geometry, raw)
            assert_calibrated(after.run(pixels, geometry, ours), expected, calibration)
            found += int(expected.valid.sum())
    assert found > 100


@pytest.mark.parametrize('calibration', CALIBRATIONS)
def test_torch_applies_the_same(hle_model, tmp_path, calibration):
    path = calibrated(hle_model, tmp_path / 'a.onnx', calibration)
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    by_torch = outputs_of(path, image, 'torch/eager', score_threshold=0.1)
    by_graph = outputs_of(path, image, score_threshold=0.1)
    assert by_graph.valid.any()
    np.testing.assert_array_equal(by_torch.valid, by_graph.valid)
    np.testing.assert_allclose(by_torch.score, by_graph.score, rtol=1e-3, atol=1e-4)
    difference = np.abs(by_torch.confidence.astype(int) - by_graph.confidence)
    assert (difference <= 2).mean() > 0.99
    raw = outputs_of(hle_model, image, 'torch/eager')
    if 'score' in calibration:
        assert not np.allclose(by_torch.score, raw.score)


def test_tensorrt_takes_the_graph(hle_model, tmp_path):
    pytest.importorskip('torch')
    from graphs import assert_tensorrt_takes

    assert_tensorrt_takes(calibrated(hle_model, tmp_path / 'a.onnx', CALIBRATIONS[0]))


def test_the_cpu_rewriting_still_applies(tmp_path):
    from panoptic_ros.runtime.cpu_graph import rewrite_for_cpu

    model = load_onnx(calibrated(default_model(), tmp_path / 'a.onnx', CALIBRATIONS[0]))
    assert rewrite_for_cpu(model)
    assert {'Compress', 'ScatterND'} <= {node.op_type for node in model.graph.node}


def test_values_that_are_no_numbers_stay_within_the_table(tmp_path):
    """A network that has overflowed must not end the engine."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node('Cast', ['x'], ['confidence'], to=TensorProto.UINT8)],
        'cast',
        [value('x', TensorProto.FLOAT, [4])],
        [value('confidence', TensorProto.UINT8, [4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    add_calibration(model, tiny_info(), {'confidence': Scaling()})
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    [found] = session.run(None, {'x': np.array([np.nan, -1e9, 1e9, 12.7], np.float32)})
    assert found[3] == 12


def test_a_map_that_is_no_cast_is_refused():
    info = tiny_info()
    model = tiny_graph(info)
    cast = next(node for node in model.graph.node if 'confidence' in node.output)
    cast.op_type = 'Identity'
    with pytest.raises(ValueError, match='result of Identity, expected Cast'):
        add_calibration(model, info, {'confidence': Scaling()})


def test_the_default_threshold_is_calibrated():
    info = replace(tiny_info(), name='a')
    new = add_calibration(tiny_graph(info), info, {'score': Scaling(2.0, 0.5)})
    own, raw = new.thresholds['score_threshold'], info.thresholds['score_threshold']
    assert own.default == pytest.approx(scale(raw.default, Scaling(2.0, 0.5)))
    assert (own.minimum, own.maximum) == (raw.minimum, raw.maximum)


def test_backends_open_a_calibrated_file(tiny_model, tmp_path):
    path = calibrated(tiny_model, tmp_path / 'a.onnx', CALIBRATIONS[0])
    assert open_backend(path, 'onnxruntime', 'cpu').name.startswith('onnxruntime')


def test_least_scores_of_classes_are_calibrated():
    info = tiny_info().with_unknown({'ball': 0.9})
    new = add_calibration(tiny_graph(info), info, {'score': Scaling(2.0)})
    assert new.unknown == {'ball': pytest.approx(0.75)} and new.labels == info.labels


def test_torch_builds_the_network_without_the_unknown_class(hle_model, tmp_path):
    model, info = (
        load_onnx(hle_model),
        read_info(hle_model).with_unknown({'ball': 1.0, 'box': 1.0}),
    )
    path = tmp_path / 'a.onnx'
    write_model_file(model, info, path)
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    for backend in ('torch/eager', 'onnxruntime'):
        frame = load(path, backend, 'cpu').predict(CameraImage(image), 0, {'score_threshold': 0.1})
        things = frame.segments[frame.segments['is_thing'] > 0]
        assert len(things) and set(things['class_id']) == {info.unknown_id}
