# SPDX-License-Identifier: Apache-2.0
"""GPUs, backends, and the check of the packaged model."""

import json
import re

import cv2
import numpy as np
import pytest

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.model_file import load_onnx, reference_from_onnx
from panoptic_ros.core.resources import STREET_PICTURE, default_model
from panoptic_ros.doctor import backends, gpu
from panoptic_ros.doctor.probes import Ended
from panoptic_ros.doctor.self_check import check, difference
from panoptic_ros.runtime.load import load

NO_SMI = Ended('', '', 'nvidia-smi: No such file or directory', missing=True)


def engines(*names: str) -> Ended:
    return Ended(json.dumps({'gpus': names, 'reasons': {}}), '', '')


def test_gpus_are_listed(tmp_path):
    smi = Ended('NVIDIA RTX A1, 580.1, 24564, 312\nNVIDIA T4, 580.1, [N/A], 5\nnonsense\n', '', '')
    facts = gpu.gpu_facts(smi, engines('NVIDIA RTX A1', 'NVIDIA T4'), tmp_path)
    assert facts['driver'] == '580.1' and facts['nvidia_smi'] == 'works'
    assert facts['gpus'] == [
        {'name': 'NVIDIA RTX A1', 'memory_mb': 24564, 'memory_used_mb': 312},
        {'name': 'NVIDIA T4', 'memory_mb': None, 'memory_used_mb': 5},
    ]
    assert not [*gpu.gpu_findings(facts, {})]


def test_no_gpu_is_no_finding(tmp_path):
    facts = gpu.gpu_facts(NO_SMI, engines(), tmp_path)
    assert facts['nvidia_smi'] == 'nvidia-smi is not installed'
    assert not [*gpu.gpu_findings(facts, {})]
    assert gpu.gpu_facts(NO_SMI, Ended('', '', 'exit status 1'))['visible_to_engines'] is None


@pytest.mark.parametrize(
    ('smi', 'seen', 'environ', 'words', 'remedy'),
    [
        (
            Ended(
                'Failed to initialize NVML: Driver/library version mismatch', '', 'exit status 18'
            ),
            (),
            {},
            'nvidia-smi failed (exit status 18): Failed to initialize NVML',
            'restart the machine: the driver was updated',
        ),
        (Ended('', '', 'no answer within 8 s', cut_off=True), (), {}, 'within 8 s', 'restart'),
        (Ended('X, 1, 2, 3', '', ''), (), {}, 'libcuda.so.1 does not', '--gpus all'),
        (
            Ended('X, 1, 2, 3', '', ''),
            (),
            {'CUDA_VISIBLE_DEVICES': ''},
            "CUDA_VISIBLE_DEVICES='' hides the GPU",
            'unset CUDA_VISIBLE_DEVICES',
        ),
        (NO_SMI, (), {'files': 'yes'}, 'no program can reach it', 'Container Toolkit'),
    ],
)
def test_a_gpu_that_cannot_be_used(tmp_path, smi, seen, environ, words, remedy):
    if environ.pop('files', ''):
        (tmp_path / 'dev').mkdir()
        (tmp_path / 'dev/nvidia0').touch()
    [finding] = gpu.gpu_findings(gpu.gpu_facts(smi, engines(*seen), tmp_path), environ)
    assert words in finding.text and remedy in finding.remedy and finding.is_problem


GOOD = {
    'state': backends.WORKS,
    'reason': '',
    'device': 'cpu',
    'difference': '',
    'fallback_reason': None,
    'p50_ms': 20.0,
}
MISSING = {'state': backends.MISSING, 'reason': 'the package is not installed'}
FAILED = {'state': backends.FAILED, 'reason': 'no cuDNN'}
CUT_OFF = {'state': backends.CUT_OFF, 'reason': 'no answer within 9 s'}
GPU = {**GOOD, 'device': 'cuda:0'}


def judge(**rows):
    chosen = backends._chosen(rows)
    return chosen, [*backends.backend_findings({'error': '', 'chosen': chosen, 'backends': rows})]


@pytest.mark.parametrize(
    ('rows', 'chosen', 'problems', 'notes'),
    [
        ({'tensorrt': MISSING, 'onnxruntime': GOOD, 'torch': MISSING}, 'onnxruntime', [], []),
        ({'tensorrt': GPU, 'onnxruntime': GOOD, 'torch': GOOD}, 'tensorrt', [], []),
        ({'onnxruntime': GOOD, 'torch': GPU}, 'torch', [], []),
        ({'onnxruntime': GOOD, 'torch': CUT_OFF}, 'onnxruntime', [], []),
        ({'onnxruntime': GOOD, 'torch': FAILED}, 'onnxruntime', [], ['torch is installed, but']),
        ({'tensorrt': CUT_OFF, 'onnxruntime': GOOD}, 'onnxruntime', [], ['tensorrt did not']),
        ({'onnxruntime': FAILED, 'torch': GOOD}, 'torch', ['onnxruntime is installed, but'], []),
        ({'onnxruntime': CUT_OFF}, None, ['onnxruntime did not finish'], []),
        ({'onnxruntime': MISSING, 'torch': MISSING}, None, ['no backend is installed'], []),
        (
            {'onnxruntime': {**GOOD, 'difference': '0 x car in place of 2'}},
            'onnxruntime',
            ['finds something else in its test picture with onnxruntime: 0 x car'],
            [],
        ),
        (
            {'onnxruntime': {**GOOD, 'fallback_reason': 'no cuda provider'}},
            'onnxruntime',
            ['runs on the CPU: no cuda provider'],
            [],
        ),
        ({'onnxruntime': {**GOOD, 'p50_ms': 250.0}}, 'onnxruntime', [], ['4.0 images/s at most']),
    ],
)
def test_backends_are_judged(rows, chosen, problems, notes):
    taken, found = judge(**rows)
    assert taken == chosen
    for texts, is_problem in ((problems, True), (notes, False)):
        kind = [finding.text for finding in found if finding.is_problem == is_problem]
        assert len(kind) == len(texts)
        assert all(words in text for words, text in zip(texts, kind, strict=True))


def test_engines_that_cannot_be_listed_are_a_problem():
    facts = backends.backend_facts(Ended('', 'ImportError: numpy\n', 'exit status 1'), 0.0)
    [finding] = backends.backend_findings(facts)
    assert 'cannot run: exit status 1: ImportError: numpy' in finding.text


def test_without_time_no_backend_is_tried():
    ended = Ended(json.dumps({'gpus': [], 'reasons': {'onnxruntime': ''}}), '', '')
    facts = backends.backend_facts(ended, 0.0)
    assert facts['backends']['onnxruntime']['state'] == backends.LEFT_OUT


def test_the_packaged_model_gives_the_answer_of_its_reference():
    assert check('onnxruntime')['difference'] == ''


def test_another_answer_is_noticed():
    path = default_model()
    predictor = load(path, 'onnxruntime', 'cpu')
    reference = reference_from_onnx(load_onnx(path), predictor.info, path)
    labels = predictor.info.labels
    picture = cv2.cvtColor(cv2.imread(str(STREET_PICTURE)), cv2.COLOR_BGR2RGB)
    frame = predictor.predict(picture)
    assert difference(frame, reference, labels) == ''
    turned = predictor.predict(np.ascontiguousarray(picture[:, ::-1]))
    assert re.fullmatch(
        '[34].% of the picture have the expected class, 80% are needed',
        difference(turned, reference, labels),
    )
    rows = frame.segments[frame.segments['class_id'] != labels.names.index('car')]
    no_cars = PanopticFrame(frame.segment_map, rows, frame.geometry, 0.0)
    assert difference(no_cars, reference, labels) == '0 x car in place of 2'


def test_a_file_without_a_reference_is_not_compared(monkeypatch, tiny_model):
    monkeypatch.setattr('panoptic_ros.doctor.self_check.default_model', lambda: tiny_model)
    assert check('onnxruntime')['difference'] is None
