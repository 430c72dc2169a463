# SPDX-License-Identifier: Apache-2.0
"""The folder of a training: its files survive refusals, errors, signals and full disks."""

import json
import os
import shutil
import signal

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter
from tiny_training import read_ckpt, run_recorded, tiny_flags

from panoptic_ros.cli.main import main
from panoptic_ros.core import files
from panoptic_ros.core.files import lock_folder
from panoptic_ros.metrics.scores import ImageScores
from panoptic_training.checkpoint import NonFiniteError, read_checkpoint
from panoptic_training.trainer.module import PanopticModule
from panoptic_training.trainer.run_folder import AtomicCheckpointIO, find_start, require_unused
from panoptic_training.trainer.sampler import SampleError


def held(folder):
    """Files of a folder and their bytes, without those that each start may write."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and path.name not in ('.lock', 'recipe.yaml')
    }


@pytest.fixture
def used(trained, tmp_path):
    """A copy of the folder of a finished training: best and last at step 6."""
    shutil.copytree(trained.folder, tmp_path / 'run')
    return tmp_path / 'run'


@pytest.fixture(autouse=True)
def usual_signals():
    """Restore Ctrl-C, which Lightning disables after it has occurred."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


def error_of(argv, capsys):
    """The one line on stderr of a training that is refused."""
    capsys.readouterr()
    assert main(['train', *argv]) == 2
    line = capsys.readouterr().err.rstrip('\n').splitlines()[-1]
    assert line.startswith('panoptic: error: ') and 'Traceback' not in line
    return line


@pytest.mark.parametrize(
    ('files_there', 'ckpt_path', 'overwrite', 'expected'),
    [
        ([], None, False, None),
        ([], None, True, None),
        ([], 'last', False, FileNotFoundError),  # nothing to resume
        ([], 'x.ckpt', False, FileNotFoundError),
        (['last'], None, False, ValueError),  # would be lost
        (['best'], None, False, ValueError),
        (['best', 'last'], None, True, None),
        (['best', 'last'], 'last', False, 'last'),
        (['best', 'last'], 'last', True, ValueError),  # resume or replace?
        (['best'], 'last', False, FileNotFoundError),
        (['best', 'last'], 'best', False, ValueError),  # from another state: last would be lost
        (['best', 'last'], 'best', True, 'best'),
    ],
)
def test_a_folder_with_checkpoints_is_taken_for_a_resume_or_by_name_only(
    tmp_path, files_there, ckpt_path, overwrite, expected
):
    folder = tmp_path / 'checkpoints'
    folder.mkdir()
    for name in files_there:
        (folder / f'{name}.ckpt').touch()
    path = str(folder / 'best.ckpt') if ckpt_path == 'best' else ckpt_path

    def start():
        found = find_start(tmp_path, path)
        require_unused(tmp_path, found, overwrite)
        return found

    if isinstance(expected, type):
        with pytest.raises(expected, match='last' if ckpt_path != 'x.ckpt' else r'x\.ckpt'):
            start()
    else:
        assert start() == (folder / f'{expected}.ckpt' if expected else None)
    if expected == 'last':  # by its path it is the same file
        require_unused(
            tmp_path, find_start(tmp_path, str(folder / '../checkpoints/last.ckpt')), False
        )


def test_a_used_folder_is_refused_before_anything_is_written(used, capsys):
    before = held(used)
    line = error_of(tiny_flags(used), capsys)
    assert 'best.ckpt and last.ckpt' in line
    assert '--ckpt_path last' in line and '--overwrite true' in line
    assert held(used) == before


def test_last_without_a_checkpoint_is_an_error(tmp_path, capsys):
    line = error_of(tiny_flags(tmp_path, '--ckpt_path', 'last'), capsys)
    assert f'there is no checkpoint {tmp_path}/checkpoints/last.ckpt' in line


def cut(path):
    path.write_bytes(path.read_bytes()[:-5000])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def change(path, key, value):
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[key] = value
    torch.save(checkpoint, path)


def remove(path, key):
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint[key]
    torch.save(checkpoint, path)


def spoil_moments(path):
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['optimizer_states'][0]['state'][0]['exp_avg_sq'][0] = float('inf')
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ('spoil', 'flags', 'reason'),
    [
        (
            cut,
            [],
            'last.ckpt is not a checkpoint of `panoptic train`, or it is cut off or damaged',
        ),
        (
            flip,
            [],
            'last.ckpt is not a checkpoint of `panoptic train`, or it is cut off or damaged',
        ),
        (lambda path: path.write_bytes(b''), [], 'last.ckpt is not a checkpoint'),
        (
            lambda path: change(path, 'hyper_parameters', {'width': 3}),
            [],
            'last.ckpt lacks the state of a training',
        ),
        (lambda path: change(path, 'optimizer_states', []), [], 'last.ckpt lacks the state'),
        (lambda path: change(path, 'loops', {}), [], 'last.ckpt lacks the state'),
        (lambda path: remove(path, 'pytorch-lightning_version'), [], 'last.ckpt lacks the state'),
        (spoil_moments, [], 'the state of the optimiser holds NaN or infinity'),
        (None, ['--data.batch_size', '0'], 'data.batch_size must be at least 1, got 0'),
        (None, ['--data.num_workers', '-1'], 'data.num_workers must be at least 0, got -1'),
        (
            None,
            ['--data.batch_size', '9'],
            'data.batch_size 9 is more than the 8 training samples',
        ),
        (None, ['--data.dataset', 'coco:nowhere'], 'nowhere'),
        (None, ['--data.train.colour', '1'], 'colour'),
        (None, ['--model.lear', '1'], 'lear'),
        (None, ['--model.network.decoder_channels', '24'], 'another network'),
        (None, ['--model.optimizer.name', 'sgd'], 'another optimiser than the recipe'),
        (None, ['--trainer.precision', '16-true'], 'trainer.precision must be one of'),
        (None, ['--overwrite', 'true'], 'give one of them'),
        (None, ['--data.train.clip_length', '0', '--model.loss.clip_images', '0'], 'clip_length'),
    ],
)
def test_a_resume_that_is_refused_leaves_all_files(used, capsys, spoil, flags, reason):
    if spoil:
        spoil(used / 'checkpoints/last.ckpt')
    before = held(used)
    line = error_of(tiny_flags(used, '--ckpt_path', 'last', *flags), capsys)
    assert reason in line
    assert held(used) == before


@pytest.mark.parametrize(
    ('flag', 'value', 'reason'),
    [
        ('model.lr', '-1', 'model.lr must be a number above 0, got -1'),
        ('model.lr', '0', 'model.lr must be'),
        ('model.lr', '.nan', 'model.lr'),
        ('model.warmup_steps', '-1', 'model.warmup_steps must be at least 0, got -1'),
        ('model.power', '-2', 'model.power must be'),
        ('model.optimizer.weight_decay', '.inf', 'weight_decay'),
        (
            'trainer.accumulate_grad_batches',
            '0',
            'trainer.accumulate_grad_batches must be at least 1',
        ),
        ('trainer.gradient_clip_val', '-0.5', 'trainer.gradient_clip_val must be'),
        ('trainer.overfit_batches', '1', 'trainer.overfit_batches does not work here'),
    ],
)
def test_a_setting_that_cannot_train_is_refused_before_any_file(used, capsys, flag, value, reason):
    before = held(used)
    line = error_of(tiny_flags(used, '--overwrite', 'true', f'--{flag}', value), capsys)
    assert reason in line
    assert held(used) == before


def test_sgd_without_the_momentum_of_nesterov_is_refused_before_any_file(used, capsys):
    before = held(used)
    error_of(
        tiny_flags(
            used,
            '--overwrite',
            'true',
            '--model.optimizer',
            json.dumps({'name': 'sgd', 'momentum': 0.0, 'nesterov': True}),
        ),
        capsys,
    )
    assert held(used) == before


def test_a_dry_run_leaves_the_checkpoints(used):
    before = held(used)
    assert (
        main(['train', *tiny_flags(used, '--trainer.fast_dev_run', 'true', '--overwrite', 'true')])
        == 0
    )
    assert held(used) == before


@pytest.mark.parametrize('start', [['--overwrite', 'true'], ['--ckpt_path', 'last']])
@pytest.mark.parametrize('stop', ['error', 'SIGINT', 'SIGTERM'])
def test_what_ends_a_training_in_its_first_step_leaves_all_files(
    used, capsys, monkeypatch, start, stop
):
    before = held(used)
    own = PanopticModule.training_step

    def training_step(self, batch, index):
        if stop == 'error':
            raise SampleError('photo.jpg cannot be decoded')
        os.kill(os.getpid(), getattr(signal, stop))
        return own(self, batch, index)

    monkeypatch.setattr(PanopticModule, 'training_step', training_step)
    # A validation follows at once, whose scores must not replace the best either.
    flags = [
        *tiny_flags(used, '--trainer.max_steps', '9', '--trainer.val_check_interval', '1'),
        *start,
    ]
    if stop == 'error':
        assert 'photo.jpg cannot be decoded' in error_of(flags, capsys)
    elif stop == 'SIGINT':
        assert main(['train', *flags]) == 130
    else:
        with pytest.raises(SystemExit, match='143'):
            main(['train', *flags])
    after = held(used)
    assert {name: after.get(name) for name in before} == before


def test_ctrl_c_while_a_checkpoint_is_restored_leaves_all_files(used, monkeypatch):
    before = held(used)

    def load_state_dict(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(PanopticModule, 'load_state_dict', load_state_dict)
    assert main(['train', *tiny_flags(used, '--ckpt_path', 'last')]) == 130
    after = held(used)
    assert {name: after.get(name) for name in before} == before


def test_ctrl_c_in_the_sanity_validation_leaves_all_files(used):
    before = held(used)
    run_recorded(
        used,
        '--overwrite',
        'true',
        '--trainer.num_sanity_val_steps',
        '1',
        stop=('validation', 0, 0),
    )
    after = held(used)
    assert {name: after.get(name) for name in before} == before


def test_overwrite_replaces_each_file_by_the_new_trainings_own(used, trained):
    logs = sorted(used.glob('events.out.tfevents.*'))
    assert logs
    run_recorded(used, '--overwrite', 'true', '--trainer.max_steps', '3', '--model.lr', '0.002')
    for name in ('best', 'last'):
        assert read_ckpt(used, name)['hyper_parameters']['lr'] == 0.002
        assert read_ckpt(used, name)['global_step'] == 3
    settings = (used / 'config.yaml').read_text()
    assert 'lr: 0.002' in settings
    assert 'overwrite: false' in settings, 'the file can be used again without danger'
    assert 'lr: 0.002' in (used / 'hparams.yaml').read_text()
    assert not any(path.exists() for path in logs)
    assert len(list(used.glob('events.out.tfevents.*'))) == 1


def test_a_recipe_of_the_user_is_not_replaced_by_the_settings(tmp_path):
    (tmp_path / 'config.yaml').write_text('# mine')
    with pytest.raises(ValueError, match=r'config\.yaml would be replaced'):
        require_unused(tmp_path, None, overwrite=False)
    require_unused(tmp_path, None, overwrite=True)


def test_a_training_in_progress_keeps_others_out_of_its_folder(tmp_path, capsys):
    flags = tiny_flags(tmp_path)
    with lock_folder(tmp_path, 'training'):
        assert 'in use by another training' in error_of(flags, capsys)
    assert not (tmp_path / 'checkpoints').exists()


CHECKPOINT = {'global_step': 3, 'hyper_parameters': {}, 'state_dict': {'a': torch.ones(3)}}


def test_a_checkpoint_is_renamed_into_place(tmp_path, monkeypatch):
    path, first = tmp_path / 'checkpoints/last.ckpt', []
    writer = AtomicCheckpointIO(lambda: first.append(path.exists()))
    writer.save_checkpoint(CHECKPOINT, path)
    inode = path.stat().st_ino
    writer.save_checkpoint({**CHECKPOINT, 'global_step': 4}, str(path))
    assert read_checkpoint(path)['global_step'] == 4
    assert path.stat().st_ino != inode, 'written in place'
    assert first == [True] and held(path.parent).keys() == {'last.ckpt'}

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files, '_flush', full)
    with pytest.raises(OSError, match=r'last\.ckpt'):
        writer.save_checkpoint({**CHECKPOINT, 'global_step': 5}, path)
    assert read_checkpoint(path)['global_step'] == 4 and held(path.parent).keys() == {'last.ckpt'}


@pytest.mark.parametrize('part', ['state_dict', 'current_model_state'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_not_written(tmp_path, part, value):
    path = tmp_path / 'last.ckpt'
    writer = AtomicCheckpointIO(lambda: None)
    writer.save_checkpoint(CHECKPOINT, path)
    before = path.read_bytes()
    with pytest.raises(NonFiniteError, match=r"after step 3 the weight 'b' is not finite; .*last"):
        writer.save_checkpoint({**CHECKPOINT, part: {'b': torch.tensor([1, value])}}, path)
    assert path.read_bytes() == before


def test_a_full_disk_ends_a_training_with_the_path(tmp_path, capsys, monkeypatch):
    last, own = tmp_path / 'checkpoints/last.ckpt', files._flush

    def flush(path):  # the disk is full after the first checkpoint
        if last.exists() and path.name.startswith(files.TEMPORARY):
            raise OSError(28, 'No space left on device')
        own(path)

    monkeypatch.setattr(files, '_flush', flush)
    line = error_of(tiny_flags(tmp_path, '--trainer.val_check_interval', '1'), capsys)
    assert f'{last}: No space left on device' in line
    assert read_checkpoint(last)['global_step'] == 1
    assert held(last.parent).keys() == {'best.ckpt', 'last.ckpt'}


def test_a_disk_too_full_for_the_log_is_told_in_one_line(tmp_path, capfd, monkeypatch):
    def write(self, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(RecordWriter, 'write', write)
    assert main(['train', *tiny_flags(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert f'panoptic: error: {tmp_path}: No space left on device' in err
    assert 'Traceback' not in err


def test_a_moved_training_keeps_its_best(used, monkeypatch):
    best = used / 'checkpoints/best.ckpt'
    before = best.read_bytes()
    monkeypatch.setattr(ImageScores, 'summary', lambda self: {'pq': -1.0})  # worse than any
    run_recorded(
        used,
        '--ckpt_path',
        'last',
        '--trainer.max_steps',
        '7',
        '--trainer.val_check_interval',
        '1',
    )
    assert read_ckpt(used)['global_step'] == 7
    assert best.read_bytes() == before
