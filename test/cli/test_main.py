"""The `panoptic` command: help, errors in one line, exit status."""

import subprocess
import sys

import pytest

import panoptic_ros
from panoptic_ros.cli import main as cli
from panoptic_ros.runtime import BackendError

HEAVY = ('torch', 'lightning', 'onnxruntime', 'rclpy', 'scipy')


def test_help_lists_every_command_on_a_line(capsys):
    with pytest.raises(SystemExit, match='0'):
        cli.main(['--help'])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    helps = {words[0]: words[1] for words in lines if len(words) == 2}
    for name in cli.COMMANDS:
        assert helps[name]


@pytest.mark.parametrize('command', sorted(set(cli.COMMANDS) - {'train'}))  # that is Lightning's
def test_each_command_has_help(capsys, command):
    with pytest.raises(SystemExit, match='0'):
        cli.main([command, '--help'])
    assert f'usage: panoptic {command}' in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit, match='0'):
        cli.main(['--version'])
    assert capsys.readouterr().out == f'panoptic_ros {panoptic_ros.__version__}\n'


def test_help_loads_nothing_heavy():
    code = (f'import sys; from panoptic_ros.cli.main import make_parser; make_parser(); '
            f'print([name for name in {HEAVY} if name in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize(('error', 'status', 'text'), [
    (ValueError('expected this,\ngot that'), 2, 'panoptic: error: expected this, got that\n'),
    (FileNotFoundError('no file x'), 2, 'panoptic: error: no file x\n'),
    (BackendError('no GPU'), 2, 'panoptic: error: no GPU\n'),
    (ModuleNotFoundError('No module named \'timm\''), 2,
     'panoptic: error: No module named \'timm\'; this command needs more packages: '
     'pip install "panoptic_ros[train]"\n'),
    (KeyboardInterrupt(), 130, ''),
])
def test_errors_are_one_line_and_a_status(monkeypatch, capsys, error, status, text):
    def fail(args):
        raise error

    monkeypatch.setattr('panoptic_ros.cli.list.run', fail)
    assert cli.main(['list']) == status
    assert capsys.readouterr().err == text


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch):
    def fail(args):
        raise AttributeError('a bug')

    monkeypatch.setattr('panoptic_ros.cli.list.run', fail)
    with pytest.raises(AttributeError):
        cli.main(['list'])


@pytest.mark.parametrize('argv', [[], ['paint'], ['list', 'colours']])
def test_unknown_words_end_with_usage(capsys, argv):
    with pytest.raises(SystemExit, match='2'):
        cli.main(argv)
    assert 'usage: panoptic' in capsys.readouterr().err


def test_train_gets_its_flags_untouched(monkeypatch):
    got = []
    monkeypatch.setattr('panoptic_ros.cli.train.run', lambda args: got.extend(args.flags))
    assert cli.main(['train', '--config', 'x.yaml', '--help', '--trainer.max_steps', '3']) == 0
    assert got == ['--config', 'x.yaml', '--help', '--trainer.max_steps', '3']
