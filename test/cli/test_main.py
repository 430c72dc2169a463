# SPDX-License-Identifier: Apache-2.0
"""The `panoptic` command: help, errors of one line, exit status."""

import os
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


@pytest.mark.parametrize(
    'command', sorted(set(cli.COMMANDS) - {'train'})
)  # Lightning prints that help
def test_each_command_has_help(capsys, command):
    with pytest.raises(SystemExit, match='0'):
        cli.main([command, '--help'])
    assert f'usage: panoptic {command}' in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit, match='0'):
        cli.main(['--version'])
    assert capsys.readouterr().out == f'panoptic_ros {panoptic_ros.__version__}\n'


def test_help_loads_nothing_heavy():
    code = (
        f'import sys; from panoptic_ros.cli.main import make_parser; make_parser(); '
        f'print([name for name in {HEAVY} if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize(
    ('error', 'status', 'text'),
    [
        (ValueError('expected this,\ngot that'), 2, 'panoptic: error: expected this, got that\n'),
        (FileNotFoundError('no file x'), 2, 'panoptic: error: no file x\n'),
        (BackendError('no GPU'), 2, 'panoptic: error: no GPU\n'),
        (
            ModuleNotFoundError("No module named 'timm'"),
            2,
            "panoptic: error: No module named 'timm'; this command needs more packages: "
            'pip install "panoptic_ros[train]"\n',
        ),
        (
            ModuleNotFoundError("No module named 'onnx'", name='onnx'),
            2,
            "panoptic: error: No module named 'onnx'; every command needs it: install the package "
            'again as docs/install.md says\n',
        ),
        (KeyboardInterrupt(), 130, ''),
    ],
)
def test_errors_are_one_line_and_a_status(monkeypatch, capsys, error, status, text):
    def fail(args):
        raise error

    monkeypatch.setattr('panoptic_ros.cli.list.run', fail)
    assert cli.main(['list']) == status
    assert capsys.readouterr().err == text


@pytest.fixture
def fail(monkeypatch, tmp_path):
    """Return a function that makes `panoptic list` raise; tracebacks go to the test's folder."""
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))

    def fail(error):
        def run(args):
            raise error

        monkeypatch.setattr('panoptic_ros.cli.list.run', run)

    return fail


@pytest.mark.parametrize(
    'error',
    [
        AttributeError('a bug'),
        KeyError('x'),
        IndexError(),
        ZeroDivisionError('by zero'),
        RuntimeError('line\nline'),
        AssertionError(),
        StopIteration(),
        MemoryError(),
        MemoryError('Unable to allocate 5 GiB'),
    ],
)
def test_an_internal_error_is_one_line_and_a_file(fail, capsys, tmp_path, error):
    fail(error)
    assert cli.main(['list', 'classes', 'city.onnx']) == 1
    line = capsys.readouterr().err
    file = tmp_path / 'state/panoptic_ros/last_error.txt'
    assert line.count('\n') == 1 and line.endswith(f'; traceback in {file}\n')
    assert '(given: city.onnx)' in line
    assert type(error).__name__ in line or 'not enough memory' in line
    assert 'Traceback' in file.read_text() and type(error).__name__ in file.read_text()


@pytest.mark.parametrize('words', [['--traceback', 'list'], ['list', '--traceback']])
@pytest.mark.parametrize(('error', 'status'), [(AttributeError('a bug'), 1), (ValueError('x'), 2)])
def test_the_traceback_is_shown_on_request(fail, capsys, tmp_path, words, error, status):
    fail(error)
    assert cli.main(words) == status
    shown = capsys.readouterr().err
    assert 'Traceback' in shown and 'in run' in shown
    assert shown.splitlines()[-1].startswith('panoptic: error: ')
    assert not (tmp_path / 'state').exists()


def test_help_names_the_flag(capsys):
    with pytest.raises(SystemExit):
        cli.main(['--help'])
    assert '--traceback' in capsys.readouterr().out


def test_a_traceback_without_a_home_goes_into_the_temporary_folder(
    fail, capsys, monkeypatch, tmp_path
):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'file'))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    fail(AttributeError('a bug'))
    assert cli.main(['list']) == 1
    (kept,) = tmp_path.glob('panoptic_error_*.txt')
    assert str(kept) in capsys.readouterr().err and 'a bug' in kept.read_text()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'file'))
    assert cli.main(['list']) == 1
    assert 'run it again with --traceback' in capsys.readouterr().err


def test_deep_nesting_is_an_error_of_the_input(fail, capsys):
    fail(RecursionError('maximum recursion depth exceeded'))
    assert cli.main(['list', 'classes', 'deep.json']) == 2
    assert capsys.readouterr().err == (
        'panoptic: error: values are nested too deeply (given: deep.json)\n'
    )


def test_a_full_disk_is_reported_with_the_path(fail, capsys):
    fail(OSError(28, 'No space left on device'))
    assert cli.main(['list', 'classes', 'there.onnx']) == 2
    assert capsys.readouterr().err == (
        'panoptic: error: [Errno 28] No space left on device (given: there.onnx)\n'
    )
    fail(OSError(28, 'No space left on device', '/disk/a.json'))
    assert cli.main(['list']) == 2
    assert capsys.readouterr().err == 'panoptic: error: /disk/a.json: No space left on device\n'


def test_a_file_that_may_not_be_read_is_named(fail, capsys):
    fail(PermissionError(13, 'Permission denied', 'city.onnx'))
    assert cli.main(['list']) == 2
    assert capsys.readouterr().err == 'panoptic: error: city.onnx: Permission denied\n'


@pytest.mark.parametrize(
    'printing',
    ["print('word ' * 9999)", "__import__('rich.console').console.Console().print('word ' * 999)"],
)
@pytest.mark.parametrize('flags', [[], ['-u']])
def test_a_closed_pipe_is_quiet(printing, flags):
    code = (
        'import sys; from panoptic_ros.cli import list, main\n'
        f'def run(args):\n  for _ in range(40): {printing}\n'
        "list.run = run; sys.exit(main.main(['list']))"
    )
    process = subprocess.Popen(
        [sys.executable, *flags, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b''
    process.stderr.close()
    assert process.wait() == 141


def test_output_that_cannot_be_printed_is_one_line():
    code = (
        'import sys; from panoptic_ros.cli import list, main\n'
        "list.run = lambda args: print('x'); sys.exit(main.main(['list']))"
    )
    with open('/dev/full', 'w') as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, '-c', code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == 'panoptic: error: [Errno 28] No space left on device\n'


@pytest.mark.parametrize(
    ('argv', 'error'),
    [
        ([], 'the following arguments are required: COMMAND ARGUMENTS ...; see `panoptic --help`'),
        (['evalute'], "command must be one of predict, data, train, * 'evalute'; did you mean "),
        (
            ['data', 'chek'],
            "action must be one of check, convert, show, * got 'chek'; did you mean check?",
        ),
        (['list', 'modls'], "topic must be one of models, * got 'modls'; did you mean models?; "),
        (['list', '--yml'], "unknown argument '--yml'; did you mean --yaml?; see `panoptic list "),
        (['list', 'models', 'a.onnx', 'b'], "unknown argument 'b'; see `panoptic list --help`"),
        (
            ['export', '--stride', '3'],
            "--stride must be one of 1, 2, 4; got '3'; see `panoptic exp",
        ),
        (['export', '-o'], '--output expects one argument; see `panoptic export --help`'),
        (['evaluate', '--model', 'x'], 'the following arguments are required: --data; see '),
    ],
)
def test_unknown_words_are_one_line_with_the_nearest_word(capsys, argv, error):
    assert cli.main(argv) == 2
    line = capsys.readouterr().err
    assert line.count('\n') == 1
    before, _, after = f'panoptic: error: {error}'.partition('*')
    assert line.startswith(before) and after in line


def test_train_gets_its_flags_untouched(monkeypatch):
    got = []
    monkeypatch.setattr('panoptic_ros.cli.train.run', lambda args: got.extend(args.flags))
    assert cli.main(['train', '--config', 'x.yaml', '--help', '--trainer.max_steps', '3']) == 0
    assert got == ['--config', 'x.yaml', '--help', '--trainer.max_steps', '3']


@pytest.mark.parametrize(
    ('missing', 'command', 'status', 'text'),
    [
        ('numpy', ['list', 'recipes'], 0, 'hle_mobilenetv2_camvid'),
        ('numpy', ['list', 'classes'], 2, "No module named 'numpy'; every command needs it"),
        ('yaml', ['list', 'classes'], 2, "No module named 'yaml'; every command needs it"),
        ('yaml', ['score'], 2, "No module named 'yaml'; every command needs it"),
    ],
)
def test_a_missing_package_is_one_line_and_stops_only_who_needs_it(
    tmp_path, missing, command, status, text
):
    (tmp_path / f'{missing}.py').write_text(
        f'raise ModuleNotFoundError("No module named {missing!r}", name={missing!r})'
    )
    done = subprocess.run(
        [sys.executable, '-m', 'panoptic_ros.cli.main', *command],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert text in done.stdout + done.stderr and 'Traceback' not in done.stderr
