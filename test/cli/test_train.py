# SPDX-License-Identifier: Apache-2.0
"""`panoptic train` from the command line: help, recipes by name, mistakes in one line.

What it trains is tested in test/training/.
"""

import zipfile

import pytest
from tiny_training import RECIPE, tiny_flags

from panoptic_ros.cli.main import main
from panoptic_ros.cli.recipes import recipe_files
from panoptic_ros.cli.train import name_recipes

pytest.importorskip('lightning')


def test_help_tells_the_keys_of_this_package_first(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '100')
    with pytest.raises(SystemExit, match='0'):
        main(['train', '--help'])
    out = capsys.readouterr().out
    assert out.startswith('usage: panoptic train --config RECIPE [--KEY VALUE ...]\n')
    keys = (
        '-c RECIPE, --config RECIPE',
        '--ckpt_path VALUE',
        '--overwrite',
        '--data.dataset VALUE',
        '--data.augment.flip X',
        '--model.family VALUE',
        '--model.network VALUE',
        '--model.lr X',
        '--model.optimizer.name VALUE',
        '--ema.decay X',
        '--pictures.count N',
        '--trainer.accelerator VALUE',
        '--trainer.max_time VALUE',
    )
    places = [out.index(f'\n  {key}') for key in keys]
    assert places == sorted(places)
    assert out.rindex('examples:') > places[-1] and max(map(len, out.splitlines())) < 100
    text = ' '.join(out.split())
    for part in ('a checkpoint to resume from', 'peak learning rate (default: 0.001)', 'momentum'):
        assert part in text
    for part in (
        'known subclasses',
        'Union[',
        'Linked arguments',
        'recipe_hash',
        ':class:',
        '.. ',
    ):
        assert part not in out


def test_shipped_recipes_go_by_their_name():
    [(name, path), *_] = recipe_files().items()
    assert name_recipes(['--config', name, '--model.lr', '1']) == [
        '--config',
        str(path),
        '--model.lr',
        '1',
    ]
    assert name_recipes(['-c', name]) == ['-c', str(path)]
    assert name_recipes([f'--config={name}']) == [f'--config={path}']
    assert name_recipes(['--config', str(path)]) == ['--config', str(path)]
    assert name_recipes(['--help']) == ['--help']


def error_of(argv, capsys):
    """The one line on stderr."""
    assert main(['train', *argv]) == 2
    err = capsys.readouterr().err
    assert err.startswith('panoptic: error: ') and err.count('\n') == 1
    return err


@pytest.mark.parametrize('argv', [[], ['--data.batch_size', '3']])
def test_a_training_needs_a_recipe(capsys, argv):
    assert 'needs a recipe: --config FILE, or --config and a name that ' in error_of(argv, capsys)


@pytest.mark.parametrize('argv', [['--config', 'none'], ['--config=none'], ['-c', 'none']])
def test_a_missing_recipe_is_named(capsys, argv):
    text = error_of(argv, capsys)
    assert "no recipe 'none'; expected a YAML file or a name that `panoptic list recipes`" in text


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('hle_mobilenetv2_ctiy', '; did you mean hle_mobilenetv2_city?; expected a YAML file'),
        ('hle_table6', 'hle_table6 is a study, expected a recipe'),
        ('FOLDER', ' is a folder, expected a YAML file of a recipe'),
        ('FOLDER/other.yaml', 'is not a recipe: expected the keys trainer, model and data, got '),
        ('FOLDER/empty.yaml', ' is empty, expected a YAML file; a recipe has the keys '),
        ('FOLDER/comment.yaml', ' holds no values; a recipe has the keys trainer, model and data'),
        ('FOLDER/last.ckpt', ' is a zip archive, as checkpoints of `panoptic train` are, exp'),
    ],
)
def test_what_is_given_in_place_of_a_recipe_is_named(tmp_path, capsys, name, reason):
    (tmp_path / 'other.yaml').write_text('title: a study')
    (tmp_path / 'empty.yaml').touch()
    (tmp_path / 'comment.yaml').write_text('# nothing')
    with zipfile.ZipFile(tmp_path / 'last.ckpt', 'w') as archive:
        archive.writestr('data.pkl', b'x' * 5_000_000)
    assert reason in error_of(['--config', name.replace('FOLDER', str(tmp_path))], capsys)


def test_a_recipe_that_is_nested_without_end_is_refused(tmp_path, capsys):
    (tmp_path / 'x.yaml').write_text('[' * 100_000)
    assert 'nested more than' in error_of(['--config', f'{tmp_path}/x.yaml'], capsys)


@pytest.mark.parametrize('text', ['hello', '[1, 2]'])
@pytest.mark.parametrize('flag', ['--config ', '--config='])
def test_a_file_of_another_kind_is_no_recipe(tmp_path, capsys, flag, text):
    (tmp_path / 'x.yaml').write_text(text)
    assert f'{tmp_path}/x.yaml is not a recipe' in error_of(
        f'{flag}{tmp_path}/x.yaml'.split(), capsys
    )


@pytest.mark.parametrize(
    ('old', 'new', 'reason'),
    [
        (
            'warmup_steps',
            'warmup_stepz',
            "'model' does not accept option 'warmup_stepz'; did you mean model.warmup_steps?; "
            'the keys of model are: family, network, ',
        ),
        (
            'warmup_steps: 2',
            'optimizer: {decay: 1}',
            'the keys of model.optimizer are: name, weight_decay, momentum, nesterov, '
            'backbone_lr_factor, bias_lr_factor',
        ),
        ('batch_size', 'batchsize', 'the keys of data are: dataset, input_size, '),
        ('data:', 'date:', 'data.input_size'),
        ('family: hle', 'family: detr', "no family 'detr' to train; the families are: "),
        (
            'mobilenetv2_035',
            'mobilenetv2_036',
            "timm has no backbone 'mobilenetv2_036'; similar: ",
        ),
        (
            'top_k: 12',
            'topk: 12',
            "unknown key 'topk' for family 'hle'; did you mean top_k?; the keys are: ",
        ),
        ('lr: 1.0e-3', 'lr: fast', 'model.lr must be a number, got fast'),
        (
            'dataset: synthetic',
            'dataset: kitti',
            "unknown data 'kitti'; did you mean kitti_step?; expected one of: synthetic, ",
        ),
        (
            'frames_per_clip',
            'per_clip',
            "no option 'per_clip'; did you mean frames_per_clip?; the options are",
        ),
        (
            'input_size: [64, 128]',
            'input_size: [64]',
            'data.input_size must be a list of 2 values, got [64]; it is: (height, width)',
        ),
        ('batch_size', 'batchsize', '; did you mean data.batch_size?'),
        ('batch_size: 2', 'batch_size: 2\n  crop: [62, 128]', 'data.crop must be multiples of 4'),
        ('[64, 128]', '[63, 128]', 'data.input_size must be multiples of 4, got (63, 128)'),
        ('trainer:', 'trainer:\n  max_time: soon', "'soon'"),
        ('trainer:', 'trainer: [', 'is not YAML that can be used'),
    ],
)
def test_mistakes_in_a_recipe_are_one_line(tmp_path, capsys, old, new, reason):
    recipe = tmp_path / 'own.yaml'
    assert RECIPE.count(old) >= 1
    recipe.write_text(RECIPE.replace(old, new, 1))
    assert reason in error_of(['--config', str(recipe)], capsys)


@pytest.mark.parametrize(
    ('flags', 'reason'),
    [
        (['--model.optimiser.name', 'sgd'], 'unrecognized arguments: --model.optimiser.name sgd'),
        (['--model.lear', '1'], 'unrecognized arguments: --model.lear 1; '),
        (['--trainer.max_step', '1'], '; did you mean --trainer.max_steps?'),
        (['--model.los.clip_images', '2'], '; did you mean --model.loss.clip_images?'),
        (['--model.warmpu_steps=2'], '; did you mean --model.warmup_steps?'),
        (['--modle.lr', '1'], 'unrecognized arguments: --modle.lr 1; did you mean --model.lr?'),
        (['--ckpt_pth', 'last'], '; did you mean --ckpt_path?'),
        (
            ['--model.init_weights', 'none.safetensors'],
            'no file for init_weights at none.safetensors',
        ),
        (['--trainer.accelerator', 'tpu'], 'panoptic: error: '),
    ],
)
def test_mistakes_in_flags_are_one_line(tmp_path, capsys, flags, reason):
    assert reason in error_of(tiny_flags(tmp_path, *flags), capsys)


@pytest.mark.parametrize(
    'precision',
    ['16-true', 'bf16-true', '64', '64-true', 'transformer-engine', 'transformer-engine-float16'],
)
def test_precisions_that_do_not_work_are_refused(tmp_path, capsys, precision):
    text = error_of(tiny_flags(tmp_path, '--trainer.precision', precision), capsys)
    assert (
        f'trainer.precision must be one of 32-true, bf16-mixed, 16-mixed, got {precision}'
    ) in text


def test_a_precision_plugin_that_does_not_work_is_refused(tmp_path, capsys):
    recipe = tmp_path / 'own.yaml'
    recipe.write_text(
        RECIPE.replace(
            'trainer:', 'trainer:\n  plugins: lightning.pytorch.plugins.DoublePrecision'
        )
    )
    assert 'got DoublePrecision' in error_of(
        ['--config', str(recipe), '--trainer.default_root_dir', str(tmp_path)], capsys
    )


def test_a_missing_data_folder_is_named(tmp_path, capsys):
    recipe = tmp_path / 'own.yaml'
    recipe.write_text(RECIPE.split('  train:')[0].replace('synthetic', 'camvid:nowhere'))
    assert "no folder of data 'camvid' at nowhere" in error_of(['--config', str(recipe)], capsys)


def test_a_batch_needs_enough_samples(tmp_path, capsys):
    assert main(['train', *tiny_flags(tmp_path, '--data.batch_size', '9')]) == 2
    assert (
        'data.batch_size 9 is more than the 8 training samples of each process'
        in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written_to_is_refused_first(tmp_path, capsys, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, 'Permission denied', f'{dir}/tmp123')

    flags = tiny_flags(tmp_path)
    monkeypatch.setattr('tempfile.TemporaryFile', refuse)
    assert error_of(flags, capsys) == (
        f'panoptic: error: --trainer.default_root_dir: the folder {tmp_path} cannot be written '
        'to: Permission denied\n'
    )
