# SPDX-License-Identifier: Apache-2.0
"""`panoptic export`; the content of the file is tested in test/training/test_export.py."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from onnx import numpy_helper
from tiny_model import tiny_info

from panoptic_ros.cli.export import build_untrained, read_scores
from panoptic_ros.cli.main import main
from panoptic_ros.cli.recipes import find_recipe, recipe_files
from panoptic_ros.core.model_file import load_onnx, read_info, write_model_file
from panoptic_ros.core.model_info import Scaling
from panoptic_ros.core.resources import default_model

RECIPE = """
model: {family: hle, network: {backbone: mobilenetv2_050, aspp_channels: 16, separable: true}}
data: {dataset: synthetic, input_size: [64, 128]}
"""


@pytest.fixture
def exported(monkeypatch):
    """Arguments of the export; tracing a graph takes too long for each test."""
    export = pytest.importorskip('panoptic_training.export')
    calls = []

    def note(module, path, input_size, **settings):
        path.write_bytes(b'model')
        calls.append((module, input_size, settings))
        return tiny_info(input_size)

    monkeypatch.setattr(export, 'export_model', note)
    return calls


def test_a_model_file_is_exported_again_with_its_weights(capsys, exported, hle_model, tmp_path):
    output = tmp_path / 'larger.onnx'
    assert (
        main(
            [
                'export',
                '--model',
                str(hle_model),
                '-o',
                str(output),
                '--input-size',
                '64',
                '192',
                '--stride',
                '2',
                '--top-k',
                '8',
                '--weights',
                'fp16',
                '--precision',
                'fp16',
                '--set',
                'score_threshold=0.7',
                'refine=1',
                '--roi-align',
                'gridsample',
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert 'tiny, input 64x192' in out and out.endswith(f'; saved to {output}\n')
    [(module, input_size, settings)] = exported
    assert input_size == (64, 192)
    assert settings == {
        'name': 'larger',
        'half_weights': True,
        'grid_sample': True,
        'precision': 'fp16',
        'stride': 2,
        'batch': 1,
        'top_k': 8,
        'scores': {},
        'recipe_hash': '',
        'card': {},
        'unknown': {},
        'score_threshold': 0.7,
        'refine': 1,
    }
    stored = {i.name: i for i in load_onnx(hle_model).graph.initializer}
    np.testing.assert_array_equal(
        module.head.weight.detach().numpy(), numpy_helper.to_array(stored['head.weight'])
    )


def test_the_card_of_a_file_is_kept_or_replaced(exported, hle_model, tmp_path):
    own, given = tmp_path / 'own.onnx', tmp_path / 'card.yaml'
    card = {'limits': 'sees nothing'}
    model, info = load_onnx(hle_model), read_info(hle_model)
    write_model_file(model, replace(info, card=card), own)
    given.write_text('intended_use: tests')
    argv = ['export', '--model', str(own), '-o', str(tmp_path / 'x.onnx')]
    for more in ([], ['--card', str(given)], ['--card', 'city']):
        assert main([*argv, *more]) == 0
    kept, replaced, shipped = (settings['card'] for _, _, settings in exported)
    assert kept == card and replaced == {'intended_use': 'tests'}
    assert shipped == read_info(default_model()).card


def test_least_scores_are_kept_given_or_lost_with_the_calibration(
    capsys, exported, hle_model, tmp_path
):
    own, calibrated = tmp_path / 'own.onnx', tmp_path / 'calibrated.onnx'
    info = read_info(hle_model).with_unknown({'ball': 0.5})
    write_model_file(load_onnx(hle_model), info, own)
    info = replace(info, calibration={'score': Scaling()})
    write_model_file(load_onnx(hle_model), info, calibrated)
    for model, more in ((own, []), (own, ['--unknown', 'box=0.25']), (calibrated, [])):
        argv = ['export', '--model', str(model), '-o', str(tmp_path / 'x.onnx'), *more]
        assert main(argv) == 0
    found = [settings['unknown'] for _, _, settings in exported]
    assert found == [{'ball': 0.5}, {'box': 0.25}, {}]
    assert exported[0][0].labels == info.network_labels
    assert 'is calibrated; the new file is not' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('content', 'message'),
    [('limit: x', 'did you mean limits?'), ('', 'empty'), (None, 'no model card')],
)
def test_a_bad_card_is_one_line(capsys, exported, hle_model, tmp_path, content, message):
    path = tmp_path / 'card.yaml'
    if content is not None:
        path.write_text(content)
    argv = ['export', '--model', str(hle_model), '-o', str(tmp_path / 'x.onnx')]
    assert main([*argv, '--card', str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not exported


@pytest.mark.parametrize(
    ('word', 'message'),
    [('refine', 'takes KEY=VALUE'), ('stride=2', 'stride has a flag of its own')],
)
def test_changes_that_are_none(capsys, hle_model, tmp_path, word, message):
    assert (
        main(['export', '--model', str(hle_model), '-o', str(tmp_path / 'x.onnx'), '--set', word])
        == 2
    )
    assert message in capsys.readouterr().err


def test_a_recipe_is_exported_untrained_at_its_own_size(exported, tmp_path):
    recipe = tmp_path / 'own.yaml'
    recipe.write_text(RECIPE)
    assert (
        main(
            [
                'export',
                '--recipe',
                str(recipe),
                '--untrained',
                '--name',
                'empty',
                '-o',
                str(tmp_path / 'x.onnx'),
            ]
        )
        == 0
    )
    [(module, input_size, settings)] = exported
    assert (module.family, input_size) == ('hle', (64, 128))
    assert settings == {
        'name': 'empty',
        'half_weights': False,
        'grid_sample': False,
        'precision': 'fp32',
        'scores': {},
        'stride': None,
        'batch': 1,
        'top_k': None,
    }


def test_a_recipe_gives_a_module_without_its_data():
    pytest.importorskip('torch')
    from panoptic_ros.cli.export import build_untrained

    module, size = build_untrained('hle_mobilenetv2_camvid')
    assert (module.family, len(module.labels), size) == ('hle', 11, (384, 512))


def test_recipes_are_found_by_name_and_by_file(tmp_path):
    own = tmp_path / 'own.yaml'
    own.write_text(RECIPE)
    assert find_recipe(str(own)) == own
    for name, path in recipe_files().items():
        assert find_recipe(name) == path


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (['--checkpoint', 'none.ckpt', '-o', 'x.onnx'], 'no checkpoint at none.ckpt'),
        (['--model', 'none.onnx', '-o', 'x.onnx'], 'no model file at none.onnx'),
        (['--recipe', 'none', '--untrained', '-o', 'x.onnx'], "no recipe 'none'; expected a YAML"),
        (['--recipe', 'hle_mobilenetv2_camvid', '-o', 'x.onnx'], '--untrained go together'),
        (['--checkpoint', 'x.ckpt', '--untrained', '-o', 'x.onnx'], '--untrained go together'),
        (['--model', 'x.onnx', '-o', 'x.trt'], 'ends in .onnx'),
        (['--model', 'x.onnx', '-o', 'no/folder/x.onnx'], 'no folder no/folder'),
        (['--model', 'x.onnx', '-o', 'x.onnx', '--top-k', '99999'], 'at most 4096, got'),
    ],
)
def test_bad_arguments_are_told_in_one_line(capsys, argv, reason):
    pytest.importorskip('torch')
    assert main(['export', *argv]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    'text', ['a: [', 'just words', 'model: {}', 'model: {family: hle}\ndata: 3']
)
def test_a_file_that_is_no_recipe_is_refused(capsys, tmp_path, text):
    pytest.importorskip('torch')
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    assert main(['export', '--recipe', str(path), '--untrained', '-o', 'x.onnx']) == 2
    assert re.search(
        r'bad\.yaml(: data must hold settings| is not (a recipe|a complete recipe|YAML))',
        capsys.readouterr().err,
    )


CLASSES = 'classes: [{id: 1, name: floor, kind: stuff}, {id: 2, name: cup, kind: thing}]'


@pytest.mark.parametrize(
    ('dataset', 'made', 'answer'),
    [
        ('folder:own', True, ['floor', 'cup']),
        ('folder:own', False, "no folder of data 'folder' at own"),
        ('camvid:none', False, 11),  # classes that all such data have
        ('pascal', False, "unknown data 'pascal'; expected one of: synthetic"),
    ],
)
def test_an_untrained_model_has_the_classes_of_its_data(
    tmp_path, monkeypatch, capsys, dataset, made, answer
):
    pytest.importorskip('torch')
    monkeypatch.chdir(tmp_path)
    if made:
        for kind, pixels in (
            ('images', np.zeros((32, 32, 3), np.uint8)),
            ('labels', np.full((32, 32), 1000, np.uint16)),
        ):
            (tmp_path / 'own' / kind / 'train').mkdir(parents=True)
            cv2.imwrite(str(tmp_path / 'own' / kind / 'train' / 'a.png'), pixels)
        (tmp_path / 'own' / 'classes.yaml').write_text(CLASSES)
    recipe = {
        'model': {'family': 'hle', 'network': {'backbone': 'mobilenetv2_035'}},
        'data': {'dataset': dataset, 'input_size': [64, 64]},
    }
    (tmp_path / 'own.yaml').write_text(json.dumps(recipe))
    if isinstance(answer, str):
        assert main(['export', '--recipe', 'own.yaml', '--untrained', '-o', 'x.onnx']) == 2
        assert answer in capsys.readouterr().err
        return
    labels = build_untrained('own.yaml')[0].labels
    assert len(labels) == answer if isinstance(answer, int) else list(labels.names) == answer


def test_scores_come_from_a_file_of_evaluate(tmp_path):
    file = tmp_path / 'scores.json'
    file.write_text(
        '{"all": {"pq": 61.5}, "things": {"pq": 50}, "stuff": {"pq": 70.0},'
        ' "semantic": {"miou": 66.25}}'
    )
    assert read_scores(file) == {'pq': 61.5, 'pq_thing': 50.0, 'pq_stuff': 70.0, 'miou': 66.25}


@pytest.mark.parametrize(
    'text',
    [
        'no json',  # another file
        '{"all": {"pq": 61.5}}',  # of `panoptic score`, which knows no mIoU
        '{"all": {"pq": null}, "things": 1}',  # nothing was scored
    ],
)
def test_other_files_are_no_scores(tmp_path, text):
    file = tmp_path / 'scores.json'
    file.write_text(text)
    with pytest.raises(ValueError, match=r'scores\.json is not (JSON|a file that `panoptic)'):
        read_scores(file)
