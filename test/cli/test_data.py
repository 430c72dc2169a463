# SPDX-License-Identifier: Apache-2.0
"""`panoptic data` from the command line: from foreign labels to a data set for training."""

import json

import numpy as np
import pytest
from PIL import Image

from panoptic_ros.cli.main import main

pytest.importorskip('torch')

SIZE = (64, 96)


@pytest.fixture
def photos(tmp_path):
    """Ten photos and a COCO instances JSON, a dog in each."""
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    images = [{'id': i, 'file_name': f'{i}.jpg', 'height': 64, 'width': 96} for i in range(10)]
    for image in images:
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(
            tmp_path / 'photos' / image['file_name']
        )
    (tmp_path / 'dogs.json').write_text(
        json.dumps(
            {
                'images': images,
                'categories': [{'id': 1, 'name': 'dog'}],
                'annotations': [
                    {
                        'id': i,
                        'image_id': i,
                        'category_id': 1,
                        'iscrowd': 0,
                        'segmentation': [[10, 10, 60, 10, 60, 40, 10, 40]],
                    }
                    for i in range(10)
                ],
            }
        )
    )
    return tmp_path


def convert(folder, *more):
    return main(
        [
            'data',
            'convert',
            '--polygons',
            str(folder / 'dogs.json'),
            '--images',
            str(folder / 'photos'),
            '-o',
            str(folder / 'own'),
            *more,
        ]
    )


def test_convert_check_and_show(photos, capsys):
    assert convert(photos, '--background', 'ground') == 0
    out = capsys.readouterr().out
    assert 'train: 8 images' in out and 'val: 2 images' in out
    assert f'panoptic data check coco:{photos / "own"}' in out
    report = photos / 'report.json'
    assert main(['data', 'check', str(photos / 'own'), '--json', str(report)]) == 0
    out = capsys.readouterr().out
    assert 'no errors' in out and 'train: 8 images, 64x96 (8)' in out and 'ground' in out
    found = json.loads(report.read_text())
    assert found['data'] == f'coco:{photos / "own"}' and found['errors'] == []
    assert found['splits']['val']['classes'][0] == {
        'name': 'dog',
        'is_thing': True,
        'images': 2,
        'segments': 2,
        'pixels': 3000,
    }
    sheet = photos / 'sheet.png'
    assert main(['data', 'show', str(photos / 'own'), '--count', '3', '-o', str(sheet)]) == 0
    assert capsys.readouterr().out == f'3 of 8 images of train; saved to {sheet}\n'
    with Image.open(sheet) as image:
        assert image.width == 3 * 440


def test_errors_end_with_status_1_and_are_named(photos, capsys):
    assert convert(photos) == 0
    (photos / 'own/train.json').rename(photos / 'own/train.json.old')
    path = next((photos / 'own/val').iterdir())
    path.write_bytes(path.read_bytes()[:-300])
    assert main(['data', 'check', f'coco:{photos / "own"}']) == 1
    out = capsys.readouterr().out
    assert 'error: train: ' in out and 'holds neither annotations/panoptic_train2017.json' in out
    assert f'error: val: {path} cannot be decoded' in out and '2 errors' in out


def test_a_photo_that_is_cut_off_is_not_converted(photos, capsys):
    path = photos / 'photos/3.jpg'
    path.write_bytes(path.read_bytes()[:1500])
    assert convert(photos) == 2
    assert f'{path} cannot be decoded' in capsys.readouterr().err
    assert not (photos / 'own/train.json').exists()


def test_a_recipe_is_checked_with_its_options_and_sizes(photos, capsys):
    recipe = photos / 'own.yaml'
    recipe.write_text(
        'data: {dataset: synthetic, batch_size: 5, train: {length: 4, size: [64, '
        '128]}, val: {length: 2, size: [64, 128]}}'
    )
    assert main(['data', 'check', str(recipe)]) == 1
    out = capsys.readouterr().out
    assert 'train: 4 images, 64x128 (4)' in out and 'error: data.batch_size 5 is more' in out


def test_any_known_data_can_be_converted(photos, capsys):
    assert convert(photos, '--background', 'ground') == 0
    assert (
        main(['data', 'convert', '--data', str(photos / 'own'), '-o', str(photos / 'again')]) == 0
    )
    for name in ('train.json', 'val.json'):
        one, two = ((photos / folder / name).read_text() for folder in ('own', 'again'))
        assert json.loads(one) == json.loads(two)


@pytest.mark.parametrize('output', ['own', 'own/images', 'own/../own'])
def test_a_data_set_is_not_converted_into_itself(photos, capsys, output):
    assert convert(photos, '--background', 'ground') == 0
    before = {path: path.stat().st_mtime_ns for path in (photos / 'own').rglob('*')}
    argv = ['data', 'convert', '--data', f'coco:{photos / "own"}', '--overwrite']
    assert main([*argv, '-o', str(photos / output)]) == 2
    assert 'the input' in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (photos / 'own').rglob('*')} == before


def test_a_conversion_does_not_replace_the_folder_of_its_photos(photos, capsys):
    (photos / 'photos').rename(photos / 'train')
    (photos / 'photos').symlink_to('train')
    (photos / 'train.json').touch()
    assert convert(photos, '--overwrite', '-o', str(photos)) == 2
    assert 'train would replace the input' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (
            ['check', 'nowhere'],
            "'nowhere' is not a folder, a data set or a recipe; the data sets are: synth",
        ),
        (['check', '.', '--limit', '0'], '--limit must be a whole number of at least 1'),
        (['check', 'none.yaml'], "no recipe 'none.yaml'"),
        (['show', 'synthetic', '-o', 'x.gif'], '--output must end in .png or .jpg'),
        (['convert', '--semantic', 'x', '-o', 'y'], '--semantic needs --images'),
        (['convert', '--data', 'synthetic', '-o', 'y'], 'does not consist of files'),
        (['convert', '--data', '', '-o', 'y'], 'has the layout of no known data set'),
        (
            ['convert', '--polygons', 'x', '--instance', 'z', '-o', 'y'],
            '--instance does not go with --polygons; it belongs to --semantic',
        ),
        (
            ['convert', '--semantic', 'x', '--background', 'z', '-o', 'y'],
            '--background does not go with --semantic; it belongs to --polygons',
        ),
        (
            ['convert', '--data', 'x', '--images', 'z', '-o', 'y'],
            '--images does not go with --data; it belongs to --polygons or --semantic',
        ),
        (
            ['convert', '--data', 'x', '--crowds-are-objects', '-o', 'y'],
            '--crowds-are-objects does',
        ),
        (
            ['convert', '--polygons', '.', '--images', __file__, '-o', 'y'],
            'is a file, expected a folder for --images',
        ),
        (
            ['convert', '--polygons', '.', '--images', '.', '-o', 'y'],
            '. is a folder, expected a JSON',
        ),
    ],
)
def test_mistakes_are_one_line(argv, reason, capsys):
    assert main(['data', *argv]) == 2
    err = capsys.readouterr().err
    assert reason in err and err.count('\n') == 1


def test_a_target_that_is_there_is_left_alone(photos, capsys):
    assert convert(photos) == 0
    before = (photos / 'own/train.json').stat().st_mtime_ns
    assert convert(photos) == 2
    assert 'exists already' in capsys.readouterr().err
    assert (photos / 'own/train.json').stat().st_mtime_ns == before


def test_help_tells_the_layout_of_own_data(capsys):
    with pytest.raises(SystemExit, match='0'):
        main(['data', 'check', '--help'])
    out = capsys.readouterr().out
    assert 'my_data/classes.yaml' in out and 'class id * 1000 + instance number' in out


def test_images_without_annotation_are_told_of(photos, capsys):
    assert convert(photos) == 0
    path = photos / 'own/train.json'
    document = json.loads(path.read_text())
    document['annotations'].pop()
    path.write_text(json.dumps(document))
    assert main(['data', 'check', str(photos / 'own')]) == 0
    assert 'warning: train: left out, without annotation: 1 image: ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[1]', 'is not a recipe'),
        ('data: {dataset: synthetic, train: [1]}', 'data.train of the recipe must be options'),
        ('data: {dataset: synthetic, train: {length: x}}', 'an option is of another type'),
        ('data: {dataset: synthetic, batch_size: x}', 'data.batch_size must be a whole number'),
        ('data: {dataset: synthetic}\nmodel: [1]', 'model must hold settings, got [1]'),
        ('trainer: 5', 'trainer must hold settings, got 5'),
        ('data: {dataset: synthetic}\nmodel: {init_weights: 5}', 'model.init_weights a file'),
        ('a: [', 'is not YAML'),
    ],
)
def test_recipes_with_values_of_other_kinds_are_told_in_a_line(tmp_path, capsys, text, message):
    (tmp_path / 'own.yaml').write_text(text)
    assert main(['data', 'check', str(tmp_path / 'own.yaml'), '--limit', '1']) in (1, 2)
    assert message in ''.join(capsys.readouterr())
