# SPDX-License-Identifier: Apache-2.0
"""Every shipped recipe can be trained, as far as this can be tested without its data."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_model import LABELS

import panoptic_training
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.checkpoint import find_non_finite
from panoptic_training.data.registry import DATASETS
from panoptic_training.losses.registry import build_loss
from panoptic_training.trainer import datamodule
from panoptic_training.trainer.progress import TrainingProgress
from panoptic_training.trainer.recipe import make_cli, recipe_hash

RECIPES = sorted((Path(panoptic_training.__file__).parent / 'recipes').glob('*.yaml'))


class StandIn:
    """A reader in place of one whose files are missing; it accepts the real one's options."""

    def __init__(self, name, split, on_error='fail', **options):
        kind, _, folder = name.partition(':')
        real = DATASETS.get(kind)
        self.labels = getattr(real, 'labels', LABELS)
        if real:
            place = [Path(folder)] if folder else []
            inspect.signature(real).bind(*place, split, **options)

    def __len__(self):
        return 100_000

    def order(self, rng):
        return np.arange(len(self))


def test_recipes_are_found():
    assert RECIPES


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_every_recipe_builds_model_loss_and_optimiser(path, tmp_path, monkeypatch):
    monkeypatch.setattr(datamodule, 'open_reader', StandIn)
    # Where it runs and what it starts from are of the machine.
    cli = make_cli(
        [
            '--config',
            str(path),
            '--trainer.default_root_dir',
            str(tmp_path),
            '--trainer.accelerator',
            'cpu',
            '--trainer.devices',
            '1',
            '--trainer.strategy',
            'auto',
            '--trainer.precision',
            '32-true',
            '--trainer.num_nodes',
            '1',
            '--model.init_weights',
            'null',
        ]
    )
    module = cli.model
    assert module.hparams['family'] in FAMILIES
    assert len(module.labels) == len(module.hparams['labels'])
    assert callable(module.loss)
    assert find_non_finite(module.state_dict()) is None, 'checkpoints with NaN are refused'
    optimizer = module.configure_optimizers()
    grouped = {id(p) for group in optimizer.param_groups for p in group['params']}
    assert grouped == {id(p) for p in module.parameters() if p.requires_grad}
    assert re.fullmatch('[0-9a-f]{64}', module.hparams['recipe_hash'])
    assert module.info.input_size == tuple(cli.config.data.input_size)
    limits = cli.config.trainer
    assert limits.max_steps > 0 or (limits.max_epochs or -1) > 0 or limits.max_time, 'it ends'


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_names_say_what_is_trained(path):
    recipe = yaml.safe_load(path.read_text())
    assert path.stem.startswith(recipe['model']['family'])
    assert recipe['trainer']['default_root_dir'] == f'runs/{path.stem}'
    assert not Path(recipe['data']['dataset'].partition(':')[2]).is_absolute()


@pytest.mark.parametrize(
    ('data', 'dim', 'longer_side'),
    [('cityscapes', 12, 2048), ('coco', 128, 640), ('vistas', 128, 2048)],
)
def test_hle_on_the_papers_data_has_the_papers_settings(data, dim, longer_side):
    (path,) = (path for path in RECIPES if path.stem == f'hle_resnet50_{data}')
    recipe = yaml.safe_load(path.read_text())
    model, augment = recipe['model'], recipe['data']['augment']
    assert model['network']['embedding_dim'] == dim
    assert model['network']['flip'], 'images are flipped at test time'
    assert augment['things'] == 1, 'crops lie around things'
    assert max(recipe['data']['input_size']) == longer_side
    assert model['optimizer']['name'] == 'adam' and model['lr'] == 1e-5
    assert 'loss' not in model, 'the defaults of the loss are those of the paper'


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: build('detr', LABELS), "unknown family 'detr'; the families are: .*hle"),
        (
            lambda: build('hle', LABELS, backbone='resnet51'),
            "timm has no backbone 'resnet51'; similar: .*resnet",
        ),
        (
            lambda: build('hle', LABELS, backbones='resnet50'),
            "for family 'hle'; did you mean backbone.; the keys are: mean, std, stride, ",
        ),
        (
            lambda: build('hle', LABELS, space='flat'),
            r"hle\.space must be one of \('hier', 'split'\)",
        ),
        (
            lambda: build('hle', LABELS, embedding_dim='twelve'),
            "family 'hle': embedding_dim must be int, got 'twelve'",
        ),
        (lambda: build('hle', LABELS, top_k=2.5), 'top_k must be int, got 2.5'),
        (lambda: build('hle', LABELS, min_area='1e3'), "min_area must be float, got '1e3'"),
        (lambda: build('hle', LABELS, flip=1), 'flip must be bool, got 1'),
        (lambda: build('hle', LABELS, stride=True), 'stride must be int, got True'),
        (lambda: build('hle', LABELS, mean=0.5), 'mean must be tuple.*, got 0.5'),
        (
            lambda: build('hle', LABELS, backbone='swin_tiny_patch4_window7_224'),
            "'swin_tiny.*' has no feature maps at output stride 16 .*; take another, or",
        ),
        (lambda: build('huggingface', LABELS), "family 'huggingface' needs the key "),
        (lambda: build_loss('huggingface', {}), "no family 'huggingface' to train; the families"),
        (lambda: build_loss('detr', {}), "no family 'detr' to train; the families are: .*hle"),
        (
            lambda: build_loss('hle', {'lossy': 1}),
            "unknown key 'lossy' for the loss of 'hle'; did you mean loss.; the keys are: ",
        ),
        (lambda: build_loss('hle', {'loss': 'l2'}), r"must be one of \('lovasz', 'ae', 'ce'\)"),
        (
            lambda: build_loss('hle', {'seed_thing_weight': 'much'}),
            "the loss of 'hle': seed_thing_weight must be float, got 'much'",
        ),
    ],
)
def test_mistakes_are_one_line_with_what_is_known(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('flags', 'fine'),
    [
        ((2, 2, 8), True),
        ((2, 1, 8), False),  # the same ids in two streets are not the same things
        ((1, 2, 8), False),
        ((2, 2, 5), False),  # a batch that ends in the middle of a row
    ],
)
def test_loss_and_data_agree_on_what_is_one_clip(flags, fine, monkeypatch, tmp_path):
    monkeypatch.setattr(datamodule, 'open_reader', StandIn)
    (path,) = (path for path in RECIPES if path.stem == 'hle_mobilenetv2_city')
    images, row, batch = flags
    args = [
        '--config',
        str(path),
        '--trainer.default_root_dir',
        str(tmp_path),
        f'--model.loss.clip_images={images}',
        f'--data.train.clip_length={row}',
        f'--data.batch_size={batch}',
    ]
    if fine:
        assert make_cli(args).model.hparams['loss']['clip_images'] == images
        return
    with pytest.raises(
        ValueError, match=r'clip_images must be data\.train\.clip_length and divide'
    ):
        make_cli(args)


def test_lists_and_whole_numbers_are_taken_as_yaml_writes_them():
    model = build(
        'hle',
        LABELS,
        backbone='mobilenetv2_035',
        mean=[0.5, 0.5, 0.5],
        min_area=24,
        aspp_channels=8,
        low_level_channels=8,
        decoder_channels=8,
        separable=True,
    )
    assert model.config.mean == (0.5, 0.5, 0.5) and model.config.min_area == 24


PLAIN = {
    'seed_everything': 0,
    'ema': {'decay': 0.999},
    'pictures': {'count': 4},
    'ckpt_path': None,
    'best': {'dirpath': 'runs/x/checkpoints'},
    'last': {'dirpath': 'runs/x/checkpoints'},
    'trainer': {
        'default_root_dir': 'runs/x',
        'accelerator': 'auto',
        'devices': 'auto',
        'max_steps': 10,
        'max_time': None,
        'precision': None,
        'logger': None,
    },
    'model': {
        'family': 'hle',
        'network': {'backbone': 'resnet50'},
        'loss': {},
        'lr': 1e-3,
        'init_weights': 'data/weights/a.safetensors',
        'recipe_hash': '',
    },
    'data': {
        'dataset': 'camvid:data/camvid',
        'input_size': [64, 128],
        'batch_size': 8,
        'train': None,
        'num_workers': 1,
        'seed': 0,
    },
}


def changed(key, value):
    """PLAIN with another value at a dotted key."""
    copy = {k: dict(v) if isinstance(v, dict) else v for k, v in PLAIN.items()}
    place, _, name = key.rpartition('.')
    (copy[place] if place else copy)[name] = value
    return copy


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('seed_everything', 1),
        ('ema', {'decay': 0.99}),
        ('trainer.max_steps', 20),
        ('trainer.max_time', '00:01:00:00'),
        ('trainer.precision', '16-mixed'),
        ('trainer.gradient_clip_val', 1.0),
        ('trainer.accumulate_grad_batches', 2),
        ('model.family', 'other'),
        ('model.network', {'backbone': 'resnet18'}),
        ('model.loss', {'vq_means': False}),
        ('model.lr', 2e-3),
        ('model.init_weights', 'data/weights/b.safetensors'),
        ('model.init_weights', None),
        ('data.dataset', 'synthetic'),
        ('data.input_size', [64, 192]),
        ('data.batch_size', 4),
        ('data.train', {'length': 3}),
    ],
)
def test_the_hash_changes_with_what_is_learned(key, value):
    assert recipe_hash(changed(key, value)) != recipe_hash(PLAIN)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('trainer.default_root_dir', 'runs/y'),
        ('trainer.accelerator', 'gpu'),
        ('trainer.devices', 2),
        ('trainer.logger', False),
        ('data.num_workers', 7),
        ('data.dataset', 'camvid:/elsewhere/camvid'),
        ('best', {'dirpath': 'y'}),
        ('last', {'dirpath': 'y'}),
        ('pictures', {'count': 0}),
        ('ckpt_path', 'last'),
        ('model.recipe_hash', 'ab'),
        ('model.init_weights', '/elsewhere/a.safetensors'),
    ],
)
def test_the_hash_does_not_change_with_folders_workers_or_device(key, value):
    assert recipe_hash(changed(key, value)) == recipe_hash(PLAIN)


def test_a_progress_bar_unless_it_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setattr(datamodule, 'open_reader', StandIn)
    torch.manual_seed(0)
    bars = [
        make_cli(
            [
                '--config',
                str(RECIPES[0]),
                '--trainer.default_root_dir',
                str(tmp_path),
                '--trainer.accelerator',
                'cpu',
                '--model.init_weights',
                'null',
                *more,
            ]
        ).trainer.progress_bar_callback
        for more in ([], ['--trainer.enable_progress_bar', 'false'])
    ]
    assert isinstance(bars[0], TrainingProgress) and bars[1] is None
