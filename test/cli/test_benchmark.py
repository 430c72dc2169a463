# SPDX-License-Identifier: Apache-2.0
"""`panoptic benchmark`: that every stage is there, not how fast it is."""

import json
import sys

import pytest

from panoptic_ros.cli.main import main


def test_the_command_prints_a_table_and_writes_records(capsys, tiny_model, tmp_path):
    path = tmp_path / 'out.json'
    assert (
        main(
            [
                'benchmark',
                str(tiny_model),
                '--seconds',
                '0.01',
                '--image-size',
                '90',
                '160',
                '--backend',
                'onnxruntime',
                '--device',
                'cpu',
                '--json',
                str(path),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    for word in (
        'pre',
        'infer',
        'track',
        'total',
        'rate, Hz',
        'peak memory',
        '64x128',
        'tracker alone, 200 tracks by 200 things',
        'camera motion alone, 90x160: ',
    ):
        assert word in out
    records = json.loads(path.read_text())
    assert [set(r) for r in records] == [
        {
            'model',
            'backend',
            'device',
            'input',
            'operations',
            'tensorrt_layers',
            'stage',
            'p50_ms',
            'p95_ms',
        }
    ] * len(records)
    assert {(r['model'], r['backend'], r['device'], r['input']) for r in records} == {
        ('tiny', 'onnxruntime/cpu', 'cpu', '64x128')
    }
    assert {'pre', 'infer', 'post', 'track', 'total'} <= {r['stage'] for r in records}
    assert all(0 <= r['p50_ms'] <= r['p95_ms'] for r in records)


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (['missing.onnx'], 'no model file at missing.onnx'),
        (['x.onnx', '--seconds', '0'], '--seconds must be a number over 0 and at most 3600, got'),
        (
            ['x.onnx', '--image-size', '0', '5'],
            '--image-size must be a whole number of at least 1',
        ),
        (['x.onnx', '--threads', '0'], '--threads must be a whole number of at least 1'),
        (['x.onnx', '--json', 'no/folder/x.json'], 'no folder no/folder'),
        (['x.onnx', '--rate', '5'], '--rate is for --cameras'),
        (['--metrics', '--cameras', '2'], '--cameras times a model; leave out --metrics'),
        (['--cameras', '17'], '--cameras must be a whole number'),
    ],
)
def test_bad_arguments_are_told_in_one_line(capsys, argv, reason):
    assert main(['benchmark', *argv]) == 2
    assert reason in capsys.readouterr().err


def test_the_metrics_are_timed_in_place_of_models(capsys, tmp_path):
    pytest.importorskip('pycocotools')
    path = tmp_path / 'out.json'
    assert (
        main(
            [
                'benchmark',
                '--metrics',
                '--image-size',
                '64',
                '128',
                '--seconds',
                '0.01',
                '--json',
                str(path),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    records = json.loads(path.read_text())
    for name in ('PQ', 'mIoU', 'Parsing Covering', 'boundary PQ', 'AP'):
        assert name in out and any(record['metric'].startswith(name) for record in records)
    kept = {record['metric'].split(',')[0]: record['kept_bytes'] for record in records}
    # AP keeps masks, and video the pairs of a clip that is not over; others next to nothing.
    assert min(kept.pop('AP'), kept.pop('video')) > 2000 > max(kept.values())
    assert all(record['image'] == '64x128' and record['ratio'] > 0 for record in records)


def test_models_have_no_place_beside_metrics(capsys):
    assert main(['benchmark', '--metrics', 'city.onnx']) == 2
    assert '--metrics needs no model, got city.onnx' in capsys.readouterr().err


def test_a_peer_needs_models(capsys):
    assert main(['benchmark', '--metrics', '--peer', 'hf']) == 2
    assert '--peer compares models; leave out --metrics' in capsys.readouterr().err


def test_a_peer_needs_transformers(capsys, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    assert main(['benchmark', str(tiny_model), '--peer', 'hf']) == 2
    err = capsys.readouterr().err
    assert 'needs torch and transformers' in err and 'pip install "panoptic_ros[train,hf]"' in err
    assert len(err.splitlines()) == 1


def test_cameras_that_share_a_model_are_timed(capsys, tiny_model, tmp_path):
    path = tmp_path / 'out.json'
    flags = ['--cameras', '2', '--rate', '20', '--seconds', '0.5', '--image-size', '90', '160']
    backend = ['--backend', 'onnxruntime', '--device', 'cpu', '--json', str(path)]
    assert main(['benchmark', str(tiny_model), *flags, *backend]) == 0
    out = capsys.readouterr().out
    assert '2 cameras of 90x160 at 20 Hz' in out
    records = json.loads(path.read_text())
    assert [record['camera'] for record in records] == ['camera 1', 'camera 2']
    for record in records:
        assert record['received'] == 10 == record['published'] + record['dropped']
        assert 0 < record['p50_ms'] <= record['p95_ms'] <= record['max_ms']
