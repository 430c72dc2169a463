# SPDX-License-Identifier: Apache-2.0
"""Initial weights: of a backbone, of earlier checkpoints, and files that are refused."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_model import LABELS

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.checkpoint import (
    backbone_of,
    load_checkpoint,
    load_pretrained,
    read_checkpoint,
)
from panoptic_training.trainer.module import PanopticModule

NETWORK = {
    'backbone': 'mobilenetv2_035',
    'aspp_channels': 8,
    'low_level_channels': 8,
    'decoder_channels': 8,
    'separable': True,
}
OTHER_LABELS = LabelSet((*LABELS.labels, Label('cone', True, (9, 9, 9), 40)))


def make_model(seed, labels=LABELS):
    torch.manual_seed(seed)
    return build('hle', labels, **NETWORK)


@pytest.fixture
def published(tmp_path):
    """A file as timm publishes them, and its tensors: a backbone and a classifier."""
    tensors = {
        name: value.clone() for name, value in backbone_of(make_model(1)).state_dict().items()
    }
    tensors['classifier.weight'] = torch.zeros(10, 4)
    tensors['conv_head.weight'] = torch.zeros(3)
    save_file(tensors, tmp_path / 'backbone.safetensors')
    return tmp_path / 'backbone.safetensors', tensors


def test_all_of_a_backbone_is_loaded_and_nothing_else_changes(published, caplog):
    path, tensors = published
    model, before = make_model(2), make_model(2).state_dict()
    with caplog.at_level('INFO'):
        load_pretrained(model, path)
    prefix = next(name for name, module in model.named_modules() if module is backbone_of(model))
    for name, value in model.state_dict().items():
        inside = name.startswith(f'{prefix}.')
        expected = tensors[name.removeprefix(f'{prefix}.')] if inside else before[name]
        assert torch.equal(value, expected), name
    assert 'loaded all' in caplog.text and 'left out: classifier, conv_head' in caplog.text


@pytest.mark.parametrize(
    'spoil',
    [
        lambda t: t.pop('conv_stem.weight'),
        lambda t: t.update({'conv_stem.weight': torch.zeros(16, 1, 3, 3)}),
    ],
)
def test_a_backbone_that_does_not_fit_changes_nothing(published, spoil):
    path, tensors = published
    spoil(tensors)
    save_file(tensors, path)
    model = make_model(2)
    with pytest.raises(
        ValueError,
        match=r'does not fit the backbone: 1 of \d+ tensors are '
        r'missing or of another shape, '
        r"e\.g\. 'conv_stem\.weight'",
    ):
        load_pretrained(model, path)
    expected = make_model(2).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_names_that_timm_flattens_are_found(tmp_path):
    backbone = torch.nn.Module()  # as timm makes it of Swin, whose files have `layers.0`
    backbone.layers_0, backbone.norm = torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)
    model = torch.nn.Module()
    model.backbone = backbone
    weight = torch.arange(6.0).view(3, 2)
    save_file(
        {
            'layers.0.weight': weight,
            'layers.0.bias': torch.ones(3),
            'head.bias': torch.ones(2),
            'norm.weight': torch.ones(3),
            'norm.bias': torch.zeros(3),
        },
        tmp_path / 'swin.safetensors',
    )
    load_pretrained(model, tmp_path / 'swin.safetensors')
    assert torch.equal(backbone.layers_0.weight, weight)


def checkpoint_file(path, labels=LABELS):
    torch.manual_seed(3)
    module = PanopticModule('hle', NETWORK, labels.to_dicts(), (64, 128))
    torch.save({'state_dict': module.state_dict(), 'hyper_parameters': {'family': 'hle'}}, path)
    return module.model


def test_an_earlier_training_gives_what_has_its_name_and_shape(tmp_path, caplog):
    source = checkpoint_file(tmp_path / 'earlier.ckpt')
    model, before = make_model(4, OTHER_LABELS), make_model(4, OTHER_LABELS).state_dict()
    with caplog.at_level('INFO'):
        load_pretrained(model, tmp_path / 'earlier.ckpt')
    by_class = {'semantic_mean', 'semantic_log_sigma'}  # one class more: these start afresh
    for name, value in model.state_dict().items():
        expected = before[name] if name in by_class else source.state_dict()[name]
        assert torch.equal(value, expected), name
    assert 'fresh: semantic_log_sigma, semantic_mean' in caplog.text


def test_a_module_starts_from_a_file(tmp_path):
    source = checkpoint_file(tmp_path / 'earlier.ckpt')
    module = PanopticModule(
        'hle', NETWORK, LABELS.to_dicts(), (64, 128), init_weights=str(tmp_path / 'earlier.ckpt')
    )
    expected = source.state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in module.model.state_dict().items()
    )


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('x.safetensors', b'no tensors at all', r'x\.safetensors is not a safetensors file'),
        ('x.ckpt', b'a: [', r'x\.ckpt is not a checkpoint of `panoptic train`'),
        ('x.ckpt', b'', r'x\.ckpt is empty, expected a file for init_weights'),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_pretrained(make_model(0), tmp_path / name)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],  # one bit of a weight
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, spoil):
    path = tmp_path / 'x.ckpt'
    torch.save({'state_dict': {'a': torch.arange(3000.0)}, 'hyper_parameters': {}}, path)
    assert read_checkpoint(path)['state_dict']['a'][2] == 2
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r'x\.ckpt is not .*, or it is cut off or damaged'):
        read_checkpoint(path)


def test_checkpoints_of_others_are_refused(tmp_path):
    torch.save({'state_dict': {}}, tmp_path / 'x.ckpt')
    with pytest.raises(ValueError, match='is not a checkpoint of `panoptic train`'):
        read_checkpoint(tmp_path / 'x.ckpt')
    torch.save(
        {'state_dict': {'model.head.weight': torch.zeros(1)}, 'hyper_parameters': {}},
        tmp_path / 'y.ckpt',
    )
    with pytest.raises(ValueError, match="holds no weights for this model's backbone"):
        load_pretrained(make_model(0), tmp_path / 'y.ckpt')


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / 'trapped'), 'w'))

    torch.save({'state_dict': {}, 'hyper_parameters': {}, 'trap': Trap()}, tmp_path / 'x.ckpt')
    with pytest.raises(ValueError, match='is not a checkpoint'):
        read_checkpoint(tmp_path / 'x.ckpt')
    assert not (tmp_path / 'trapped').exists()


def test_missing_files_are_named():
    with pytest.raises(FileNotFoundError, match=r'no file for init_weights at none\.safetensors'):
        load_pretrained(make_model(0), 'none.safetensors')
    with pytest.raises(ValueError, match='Linear has no backbone to load weights into'):
        backbone_of(torch.nn.Linear(1, 1))


def test_networks_of_earlier_versions_keep_their_form(tmp_path):
    """A key that the version did not know has the value that its networks were trained with."""
    small = {**FAMILIES['sognet'].small, 'trim': True}
    module = PanopticModule('sognet', dict(small), LABELS.to_dicts(), [64, 128])
    path, earlier = tmp_path / 'x.ckpt', dict(module.hparams)
    for network, relu in ((earlier['network'], False), (small, True)):
        content = {
            'state_dict': module.state_dict(),
            'hyper_parameters': {**earlier, 'network': network},
        }
        torch.save(content, path)
        config = load_checkpoint(path)[0].config
        assert (config.box_relu, config.trim) == (relu, True)


def test_earlier_values_differ_from_the_defaults():
    """A value that is the default is not needed; a name that is no field would be refused."""
    for name, row in FAMILIES.items():
        for key, value in getattr(row.config, 'earlier', {}).items():
            assert row.config.__dataclass_fields__[key].default != value, (name, key)
