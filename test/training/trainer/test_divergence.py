# SPDX-License-Identifier: Apache-2.0
"""Trainings whose loss or weights become NaN or infinite."""

import re

import pytest
import torch
from checkpoints import write_checkpoint
from safetensors.torch import save_file
from tiny_model import LABELS
from tiny_training import WATCHED, read_ckpt, tiny_flags

from panoptic_ros.cli.main import main
from panoptic_ros.models.registry import build
from panoptic_training.checkpoint import (
    NonFiniteError,
    backbone_of,
    find_non_finite,
    load_pretrained,
    non_finite_weight,
)
from panoptic_training.export import export_model
from panoptic_training.trainer import module
from panoptic_training.trainer.ema import EMA

NETWORK = {
    'backbone': 'mobilenetv2_035',
    'aspp_channels': 8,
    'low_level_channels': 8,
    'decoder_channels': 8,
    'separable': True,
    'stride': 4,
}
NAN, INF = float('nan'), float('inf')


def error_of(argv, capsys):
    """The one line on stderr of a command that fails."""
    capsys.readouterr()
    assert main(argv) == 2
    line = capsys.readouterr().err.rstrip('\n').splitlines()[-1]
    assert line.startswith('panoptic: error: ')
    return line


def spoil_loss(monkeypatch, step, value):
    """Replace one term of a step, and with it the loss."""
    own, calls = module.build_loss, []

    def build_loss(*args):
        loss = own(*args)

        def spoiled(model, *inputs):
            terms = loss(model, *inputs)
            calls.append(terms)
            if len(calls) == step:
                # As an overflow has it: norm statistics have already taken the batch in.
                next(model.buffers()).fill_(INF)
                terms['seg'], terms['loss'] = terms['seg'] * value, terms['loss'] * value
            return terms

        return spoiled

    monkeypatch.setattr(module, 'build_loss', build_loss)


@pytest.mark.parametrize(
    ('step', 'value', 'kept'),
    [
        (5, NAN, 3),  # the checkpoint of the validation after step 3 stays
        (2, INF, 1),  # there is none yet: what was good before the step
        (1, NAN, None),
    ],
)
def test_the_first_loss_that_is_not_finite_stops_the_training(
    tmp_path, capsys, monkeypatch, step, value, kept
):
    spoil_loss(monkeypatch, step, value)
    line = error_of(['train', *tiny_flags(tmp_path)], capsys)
    name = 'nan' if value is NAN else 'inf'
    assert f'the loss of step {step} is not finite (loss {name}, ' in line
    assert f'seg {name}' in line and re.search(r'ins \d', line)
    assert (tmp_path / 'checkpoints/last.ckpt').exists() == (kept is not None)
    if kept:
        last = read_ckpt(tmp_path)
        assert last['global_step'] == kept and non_finite_weight(last) is None


@pytest.mark.parametrize(
    'flags',
    [
        ['--trainer.val_check_interval', '3'],  # before a validation
        ['--trainer.limit_val_batches', '0', '--trainer.max_steps', '3'],  # at the end
        ['--trainer.val_check_interval', '4'],  # before the next step
    ],
)
def test_weights_that_a_step_makes_nan_are_never_saved(tmp_path, capsys, monkeypatch, flags):
    own = EMA.on_train_batch_end

    def on_train_batch_end(self, trainer, trained, *args):
        if trainer.global_step == 3:
            trained.get_parameter(WATCHED).data[0] = NAN
        own(self, trainer, trained, *args)

    monkeypatch.setattr(EMA, 'on_train_batch_end', on_train_batch_end)
    line = error_of(['train', *tiny_flags(tmp_path, *flags)], capsys)
    assert f'the weight {WATCHED!r}' in line
    assert 'step 3' in line or 'step 4' in line
    assert not list(tmp_path.glob('checkpoints/*.ckpt'))


def test_a_step_that_the_scaler_leaves_out_does_not_stop_the_training(tmp_path, monkeypatch):
    # Infinite gradients at a finite loss: as GradScaler finds them when its scale is too large.
    own = torch.optim.AdamW.step

    def step(self, closure=None):
        weights = [p.detach().clone() for group in self.param_groups for p in group['params']]
        loss = own(self, closure)
        for group in self.param_groups:
            for parameter in group['params']:
                parameter.data.copy_(weights.pop(0))
                parameter.grad = torch.full_like(parameter, INF)
        return loss

    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    assert main(['train', *tiny_flags(tmp_path, '--trainer.max_steps', '2')]) == 0


@pytest.fixture
def spoiled(tmp_path):
    """A checkpoint with one NaN in its weights."""
    path = write_checkpoint(tmp_path / 'x.ckpt', 'hle', NETWORK, (64, 128))
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['state_dict']['model.head.weight'][0, 0] = NAN
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    'command',
    [
        ['export', '-o', 'm.onnx', '--checkpoint'],
        ['evaluate', '--data', 'synthetic', '--limit', '1', '--model'],
    ],
)
def test_a_checkpoint_with_nan_is_refused(spoiled, capsys, monkeypatch, command):
    monkeypatch.chdir(spoiled.parent)
    line = error_of([*command, str(spoiled)], capsys)
    assert "x.ckpt: the weight 'model.head.weight' holds NaN or infinity" in line
    assert not (spoiled.parent / 'm.onnx').exists()


def test_a_training_does_not_start_from_nan(spoiled, tmp_path, capsys):
    model = build('hle', LABELS, **NETWORK)
    with pytest.raises(NonFiniteError, match=r'x\.ckpt: the weight'):
        load_pretrained(model, spoiled)
    weights = {name: value.clone() for name, value in backbone_of(model).state_dict().items()}
    weights['conv_stem.weight'][0] = INF
    save_file(weights, tmp_path / 'b.safetensors')
    with pytest.raises(NonFiniteError, match=r"b\.safetensors: the weight 'conv_stem\.weight'"):
        load_pretrained(model, tmp_path / 'b.safetensors')
    for flag in ('--model.init_weights', '--ckpt_path'):
        assert 'holds NaN or infinity' in error_of(
            ['train', *tiny_flags(tmp_path / 'run', flag, str(spoiled))], capsys
        )


def test_a_checkpoint_that_overflows_is_not_scored(spoiled, capsys):
    checkpoint = torch.load(spoiled, weights_only=True)
    for value in checkpoint['state_dict'].values():
        if value.is_floating_point():
            value.nan_to_num_(0).mul_(1e12)
    torch.save(checkpoint, spoiled)
    assert 'gives NaN or infinity for an image' in error_of(
        ['evaluate', '--data', 'synthetic', '--limit', '1', '--model', str(spoiled)], capsys
    )


def test_a_network_that_overflows_is_not_exported(tmp_path):
    model = build('hle', LABELS, **NETWORK)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e12)
    assert find_non_finite(model.state_dict()) is None
    with pytest.raises(NonFiniteError, match='gives NaN or infinity for an image'):
        export_model(model, tmp_path / 'm.onnx', (64, 128), name='m')
    assert not (tmp_path / 'm.onnx').exists()
