# SPDX-License-Identifier: Apache-2.0
"""Every argument that names a file or a name, given a wrong one: one line says what is wrong."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from panoptic_ros.cli.main import main
from panoptic_ros.core.resources import default_model

pytest.importorskip('lightning')
pytest.importorskip('rclpy')

CITY = str(default_model())

FILES = (
    'ablate {}',
    'benchmark {}',
    'build {}',
    'data check {}',
    'data convert --polygons {} --images photos -o new',
    'data convert --semantic photos --instance photos --images photos --classes {} -o new',
    'demo --bag {}',
    'demo --model {}',
    'demo --video {}',
    'evaluate --model {} --data synthetic',
    'evaluate --predictions {} --data synthetic',
    'evaluate-tracking --model {}',
    'export --checkpoint {} -o new.onnx',
    'export --model {} -o new.onnx',
    f'export --model {CITY} --scores {{}} -o new.onnx',
    f'export --model {CITY} --card {{}} -o new.onnx',
    'export --recipe {} --untrained -o new.onnx',
    'list classes {}',
    'predict {}',
    'predict photos --ids {}',
    'list model {}',
    'quantize {} --data synthetic -o new.onnx',
    'calibrate {} --data synthetic -o new.onnx',
    'replay {}',
    'replay photos --config {}',
    'replay photos --model {}',
    'score --gt_json_file {} --pred_json_file good.json',
    'score --gt_json_file good.json --pred_json_file {}',
    'score-video photos photos --labels {}',
    'train --config {}',
)

FOLDERS = (
    'data convert --polygons good.json --images {} -o new',
    'data convert --semantic {} --instance photos --images photos --classes c.yaml -o new',
    'data convert --semantic photos --instance {} --images photos --classes c.yaml -o new',
    'score --gt_json_file good.json --pred_json_file good.json --gt_folder {}',
    'score --gt_json_file good.json --pred_json_file good.json --pred_folder {}',
    'score-video {} photos --labels c.yaml',
    'score-video photos {} --labels c.yaml',
    'replay --compare {} photos',
)

READS_FOLDERS = {
    'data check {}',
    'demo --bag {}',
    'demo --video {}',
    'predict {}',
    'replay {}',
} | {command for command in FILES if '--predictions' in command}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'good').mkdir()
    (tmp_path / 'empty').touch()
    cv2.imwrite(str(tmp_path / 'photos/0.png'), np.zeros((32, 64, 3), np.uint8))
    with zipfile.ZipFile(tmp_path / 'other.ckpt', 'w') as archive:
        archive.writestr('other', b'x')
    (tmp_path / 'c.yaml').write_text('classes: [{id: 1, name: road, kind: stuff}]')
    (tmp_path / 'good.json').write_text(json.dumps({'annotations': [], 'images': []}))
    return tmp_path


def line_of(words, capsys):
    assert main(words.split()) == 2
    line = capsys.readouterr().err.removeprefix('exporting\n')
    assert line.startswith('panoptic: error: ') and line.count('\n') == 1, line
    assert 'internal error' not in line and 'Errno' not in line
    return line


@pytest.mark.parametrize('words', FILES)
def test_a_path_that_is_no_such_file_is_named(place, capsys, words):
    before = sorted(place.rglob('*'))
    for name, reasons in {
        'missing.x': ('no ', 'is not a folder'),
        'empty': ('empty is empty, expected a', 'is a file, expected', 'cannot be read as a bag'),
        'other.ckpt': ('is a zip archive', 'cannot be read', 'is not a ', 'is a file, expected'),
        'folder': ('folder is a folder, expected a',),
    }.items():
        line = line_of(words.format(name), capsys)
        assert name in line
        if name != 'folder' or words not in READS_FOLDERS:
            assert any(reason in line for reason in reasons), line
    assert sorted(place.rglob('*')) == before


@pytest.mark.parametrize('words', FOLDERS)
def test_a_path_that_is_no_folder_is_named(place, capsys, words):
    for name, reasons in {
        'missing': ('no ', 'does not exist'),
        'c.yaml': ('is a file, expected a', 'no frames.jsonl in c.yaml'),
    }.items():
        line = line_of(words.format(name), capsys)
        assert name in line and any(reason in line for reason in reasons), line


@pytest.mark.parametrize(
    ('words', 'near'),
    [
        ('ablate hle_tabel6', 'hle_table6'),
        ('train --config hle_mobilenetv2_ctiy', 'hle_mobilenetv2_city'),
        ('export --recipe hle_mobilenetv2_ctiy --untrained -o x.onnx', 'hle_mobilenetv2_city'),
        ('data check hle_mobilenetv2_ctiy', 'hle_mobilenetv2_city'),
        ('data check phots', 'photos'),
        ('data check citiscapes:photos', 'cityscapes'),
        ('evaluate --model CITY --data sinthetic', 'synthetic'),
        ('evaluate --model CITY --data synthetic --backend onxruntime', 'onnxruntime'),
        ('evaluate --model CITY --data synthetic --split vall', 'val'),
        ('benchmark CITY --precision fp61', 'fp16'),
        ('quantize CITY --data sinthetic -o x.onnx', 'synthetic'),
        ('calibrate CITY --data sinthetic -o x.onnx', 'synthetic'),
        ('export --model CITY --card ctiy -o x.onnx', 'city'),
        ('tune-tracker --tracker defalt', 'default'),
        ('train --config hle_mobilenetv2_city --model.family hel', 'hle'),
        ('export --model CITY -o x.onnx --set score_treshold=0.5', 'score_threshold'),
        ('list classes c.yml', 'c.yaml'),
        ('predict photo', 'photos'),
        ('replay photo', 'photos'),
    ],
)
def test_the_nearest_name_is_suggested(place, capsys, words, near):
    assert f'; did you mean {near}?' in line_of(words.replace('CITY', CITY), capsys)


def test_one_error_is_singular(place, capsys):
    (place / 'own/images/train').mkdir(parents=True)
    (place / 'own/classes.yaml').write_text('classes: [{id: 1, name: road, kind: stuff}]')
    assert main(['data', 'check', 'own', '--split', 'train']) == 1
    assert capsys.readouterr().out.splitlines()[-1] == '1 error'


@pytest.mark.parametrize(
    ('name', 'reason'), [('car', "the classes of poly.json, car; got 'car'"), ('', "car; got ''")]
)
def test_a_background_needs_a_name_of_its_own(place, capsys, name, reason):
    polygon = [[1, 1, 20, 1, 20, 20, 1, 20]]
    (place / 'poly.json').write_text(
        json.dumps(
            {
                'images': [{'id': 1, 'file_name': '0.png', 'width': 64, 'height': 32}],
                'categories': [{'id': 1, 'name': 'car'}],
                'annotations': [{'image_id': 1, 'category_id': 1, 'segmentation': polygon}],
            }
        )
    )
    words = f'data convert --polygons poly.json --images photos -o new --background={name}'
    assert reason in line_of(words, capsys)


@pytest.mark.parametrize(
    ('labels', 'reason'),
    [
        (np.ones((32, 64), np.uint8), 'the PNG has 8 bits, so its values may be class ids alone'),
        (np.ones((32, 64, 3), np.uint8), 'the PNG has several channels, read as R + 256 G'),
        (np.full((32, 64), 9000, np.uint16), '9000 (class 9, instance 0) is of no class in class'),
    ],
)
def test_ids_in_a_png_of_another_depth_are_explained(place, capsys, labels, reason):
    for kind, picture in (('images', np.zeros((32, 64, 3), np.uint8)), ('labels', labels)):
        (place / 'own' / kind / 'train').mkdir(parents=True)
        cv2.imwrite(str(place / 'own' / kind / 'train/0.png'), picture)
    (place / 'own/classes.yaml').write_text('classes: [{id: 1, name: road, kind: stuff}]')
    line = line_of('data show own -o sheet.png', capsys)
    assert reason in line
    assert ('channels' in line or '8 bits' in line) == (labels.dtype == np.uint8)


@pytest.mark.parametrize(
    ('labels', 'found'),
    [
        (np.ones((32, 64), np.uint8), '1 channel of 8 bits'),
        (np.ones((32, 64), np.uint16), '1 channel of 16 bits'),
        (np.ones((32, 64, 3), np.uint16), '3 channels of 16 bits'),
    ],
)
def test_a_png_of_another_depth_than_rgb_is_explained(place, capsys, labels, found):
    cv2.imwrite(str(place / 'photos/0.png'), labels)
    line = line_of('score-video photos photos --labels c.yaml', capsys)
    assert f'photos/0.png is not an 8-bit RGB PNG: it has {found}; write an id as R + 256' in line


@pytest.mark.parametrize(
    ('flags', 'reason'),
    [
        (
            '--trainer.max_steps 0',
            'trainer.max_steps must be at least 1, or -1 for no limit, got 0',
        ),
        ('--trainer.max_epochs 0', 'trainer.max_epochs must be at least 1, or -1 for no limit'),
        ('--data.batch_size nan', 'data.batch_size must be a whole number, got nan'),
        ('--model.lr fast', 'model.lr must be a number, got fast'),
    ],
)
def test_numbers_of_a_training_are_checked(place, capsys, flags, reason):
    words = f'train --config hle_mobilenetv2_city --trainer.default_root_dir new {flags}'
    assert reason in line_of(words, capsys)
    assert not (place / 'new').exists()
