# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate` in the classes of the model, `--classes`, and on some images, `--images`."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import SIZE, make_data, true_ids
from tiny_model import LABELS, paint_scene

import panoptic_ros
from panoptic_ros.cli.arguments import parse_slice
from panoptic_ros.cli.main import main

CITY = Path(panoptic_ros.__file__).parent / 'data/city.onnx'
CAMVID = Path(__file__).parents[3] / 'shared/data/camvid'
SKY, BUILDING, ROAD, SIGN, CAR, PEDESTRIAN = 0, 1, 3, 6, 8, 9

MAPPING = """
building: wall
road: floor
sky: floor
sign: null
car: ball
pedestrian: wall    # a thing becomes stuff
"""


@pytest.fixture(autouse=True)
def needs_training():
    pytest.importorskip('panoptic_training.data.registry')


@pytest.fixture
def camvid(tmp_path):
    """One scene in CamVid's classes; its sky and its pedestrian are not what the model sees."""
    ids = np.array([0, BUILDING, ROAD, CAR, PEDESTRIAN], np.uint8)[true_ids(0)]
    ids[:8], ids[56:] = SKY, SIGN  # 1024 px of the wall and of the floor
    for name, picture in (('images', paint_scene(*SIZE)[..., ::-1]), ('labels', ids)):
        (tmp_path / f'camvid/val/{name}').mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / f'camvid/val/{name}/scene.png'), picture)
    (tmp_path / 'mapping.yaml').write_text(MAPPING)
    return tmp_path / 'camvid'


def evaluate(*flags):
    return main(['evaluate', *map(str, flags)])


def refusal(capsys, *flags):
    """The line that refuses the flags."""
    capsys.readouterr()
    assert evaluate(*flags) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    return err


def images_of(folder):
    with (folder / 'images.csv').open() as file:
        return [row['image'] for row in csv.DictReader(file)]


def test_scores_are_those_computed_by_hand(tmp_path, camvid, tiny_model):
    """Pixels of 1024, ground truth by row, predicted floor, wall, ball, box in columns.

    floor (road, sky)             2  1  0  0
    wall (building, pedestrian)   0  2  0  1
    ball (car)                    0  0  1  0
    """
    out = tmp_path / 'out'
    flags = ['--model', tiny_model, '--data', f'camvid:{camvid}', '-o', out]
    assert evaluate(*flags, '--classes', tmp_path / 'mapping.yaml') == 0
    scores = json.loads((out / 'scores.json').read_text())
    assert scores['class_mapping'] == {
        'building': 'wall',
        'road': 'floor',
        'sky': 'floor',
        'car': 'ball',
        'pedestrian': 'wall',
    }
    assert [row['name'] for row in scores['per_class']] == list(LABELS.names)
    iou = [row['iou'] for row in scores['semantic']['per_class']]
    assert iou == pytest.approx([200 / 3, 50, 100, 0])
    assert scores['semantic']['miou'] == pytest.approx((200 / 3 + 150) / 4)
    counts = [[row[key] for key in ('tp', 'fp', 'fn')] for row in scores['per_class']]
    assert counts == [[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0]]
    assert [row['pq'] for row in scores['per_class']] == pytest.approx([200 / 3, 0, 100, 0])


def test_files_have_the_classes_of_the_model(tmp_path, camvid, tiny_model):
    out = tmp_path / 'out'
    flags = ['--model', tiny_model, '--data', f'camvid:{camvid}', '-o', out]
    assert evaluate(*flags, '--classes', tmp_path / 'mapping.yaml') == 0
    predictions = json.loads((out / 'predictions.json').read_text())
    categories = {category['id']: category['name'] for category in predictions['categories']}
    assert categories == {label.category_id: label.name for label in LABELS.labels}
    [entry] = predictions['annotations']
    found = {categories[segment['category_id']] for segment in entry['segments_info']}
    assert found == {'floor', 'wall', 'ball', 'box'}
    assert [path.name for path in (out / 'worst').iterdir()] == ['01_scene.jpg']


def test_a_mapping_to_the_same_names_changes_no_score(tmp_path, tiny_model):
    data, same = make_data(tmp_path / 'data', 1), tmp_path / 'same.yaml'
    same.write_text(''.join(f'{name}: {name}\n' for name in LABELS.names))
    flags = ['--model', tiny_model, '--data', f'coco:{data}', '-o']
    assert evaluate(*flags, tmp_path / 'plain') == 0
    assert evaluate(*flags, tmp_path / 'mapped', '--classes', same) == 0
    plain, mapped = (
        (tmp_path / name / 'per_class.csv').read_text() for name in ('plain', 'mapped')
    )
    assert plain == mapped


def test_a_folder_belongs_to_one_mapping_and_one_choice(tmp_path, camvid, tiny_model, capsys):
    out, mapping = tmp_path / 'out', tmp_path / 'mapping.yaml'
    flags = ['--model', tiny_model, '--data', f'camvid:{camvid}', '-o', out, '--classes', mapping]
    assert evaluate(*flags, '--images', '::2') == 0
    rest = MAPPING.replace('car: ball\n', '')
    mapping.write_text('# Only a comment is new, and the order.\ncar: ball\n' + rest)
    assert evaluate(*flags, '--images', '::2') == 0
    assert 'resuming, 1 image predicted earlier' in capsys.readouterr().err
    assert 'of another image_slice, ::2 there and None here' in refusal(capsys, *flags)
    mapping.write_text(MAPPING.replace('sky: floor', 'sky: wall'))
    assert 'of another class_mapping' in refusal(capsys, *flags, '--images', '::2')


def test_mistakes_are_one_line(tmp_path, camvid, tiny_model, capsys):
    flags = ['--model', tiny_model, '--data', f'camvid:{camvid}']
    assert '--classes takes a mapping of these to those of the model' in refusal(capsys, *flags)
    err = refusal(capsys, *flags, '--classes', 'none')
    assert "no class mapping 'none'; expected a YAML file or one of: camvid_city" in err
    err = refusal(capsys, *flags, '--classes', 'camvid_city')
    assert "the model has no class 'sky'; its classes are: floor, wall, ball, box" in err
    err = refusal(capsys, '--predictions', 'x', '--data', f'camvid:{camvid}', '--classes', 'y')
    assert '--classes needs a --model' in err


def test_some_images_are_scored(tmp_path, tiny_model):
    data = make_data(tmp_path / 'data', 5)
    command = ['--model', tiny_model, '--data', f'coco:{data}', '-o']
    assert evaluate(*command, tmp_path / 'a', '--images', '::2') == 0
    assert images_of(tmp_path / 'a') == ['scene0.png', 'scene2.png', 'scene4.png']
    assert evaluate(*command, tmp_path / 'b', '--images', '1::2') == 0
    assert images_of(tmp_path / 'b') == ['scene1.png', 'scene3.png']
    assert evaluate(*command, tmp_path / 'c', '--images', '1:', '--limit', '2') == 0
    assert images_of(tmp_path / 'c') == ['scene1.png', 'scene2.png']
    assert json.loads((tmp_path / 'c/scores.json').read_text())['image_slice'] == '1:'


@pytest.mark.parametrize('text', ['', '3', '::0', '::-1', 'a:', '1:2:3:4', '0.5:'])
def test_a_choice_that_is_no_slice_is_refused(text):
    with pytest.raises(ValueError, match='--images must be START:STOP:STEP'):
        parse_slice(text)


def test_a_choice_must_leave_single_images(tmp_path, tiny_model, capsys):
    data, out = make_data(tmp_path / 'data', 2), tmp_path / 'out'
    flags = ['--model', tiny_model, '--data', f'coco:{data}', '-o', out, '--images', '2:']
    assert 'the choice of images leaves none of 2' in refusal(capsys, *flags)
    flags = ['--model', CITY, '--data', 'synthetic', '--track', '-o', out, '--images', '::2']
    assert 'tracks are scored over complete clips' in refusal(capsys, *flags)
    assert not out.exists(), 'the corrected command can use it'


@pytest.mark.skipif(not CAMVID.is_dir(), reason='needs camvid')
def test_the_packaged_model_is_scored_on_camvid(tmp_path):
    file = tmp_path / 'scores.json'
    flags = ['--model', CITY, '--data', f'camvid:{CAMVID}', '--classes', 'camvid_city']
    assert evaluate(*flags, '--images', '::2', '--limit', '3', '--json', file) == 0
    scores = json.loads(file.read_text())
    assert scores['images'] == 3 and 10 < scores['semantic']['miou'] < 100
    assert scores['per_class'][0]['name'] == 'road' and scores['per_class'][0]['tp'] > 0
