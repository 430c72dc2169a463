# SPDX-License-Identifier: Apache-2.0
"""Output paths are checked before the work starts."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from rich.table import Table

from panoptic_ros.cli import main as cli
from panoptic_ros.cli.output import OUTPUTS, report_saved, table_console
from panoptic_ros.core.outputs import Results, check_folder, require_apart


def test_writable_paths_are_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'old.json').touch()
    before = sorted(tmp_path.iterdir())
    check_folder(None, '--json')
    for name in ('new.json', 'old.json'):
        check_folder(tmp_path / name, '--json')
        check_folder((tmp_path / name).relative_to(tmp_path), '--json')
    for name in ('.', 'new', 'several/new/folders'):
        check_folder(tmp_path / name, '--output', is_folder=True)
        check_folder((tmp_path / name).relative_to(tmp_path), '--output', is_folder=True)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ('name', 'is_folder', 'kind', 'reason'),
    [
        ('missing/new.json', False, FileNotFoundError, r'--out: no folder .*missing'),
        ('.', False, ValueError, '--out must be a file'),
        ('pipe', False, ValueError, '--out must be a file'),
        ('file/new.json', False, FileNotFoundError, '--out: no folder'),
        ('file', True, ValueError, r'--out must be a folder, and .*file is a file'),
        ('file/new', True, (ValueError, OSError), 'file'),
        ('x' * 300, True, OSError, 'x' * 300),
    ],
)
def test_other_paths_are_refused(tmp_path, name, is_folder, kind, reason):
    (tmp_path / 'file').touch()
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(kind, match=reason):
        check_folder(tmp_path / name, '--out', is_folder)


@pytest.mark.parametrize('is_folder', [False, True])
def test_a_folder_that_refuses_is_named(tmp_path, monkeypatch, is_folder):
    def refuse(dir):
        raise PermissionError(13, 'Permission denied', f'{dir}/tmp123')

    monkeypatch.setattr('tempfile.TemporaryFile', refuse)
    with pytest.raises(PermissionError) as caught:
        check_folder(tmp_path / 'new', '--json', is_folder)
    assert str(caught.value) == (
        f'--json: the folder {tmp_path} cannot be written to: Permission denied'
    )


@pytest.mark.parametrize(
    'words',
    [
        'ablate hle_table6 -o {}',
        'benchmark missing.onnx --json {}',
        'data check missing --json {}',
        'data convert --polygons a.json --images . -o {}',
        'data show missing -o {}.png',
        'evaluate --model missing.onnx --data synthetic -o {}',
        'evaluate --model missing.onnx --data synthetic --json {}',
        'evaluate --model missing.onnx --data synthetic --relations {}',
        'evaluate-tracking --json {}',
        'evaluate-tracking --cache {}',
        'tune-tracker --cache {}',
        'tune-decoder --model missing.onnx --data synthetic -o {}',
        'figures missing.ckpt --data synthetic -o {}',
        'train --config hle_mobilenetv2_city --trainer.default_root_dir {}',
        'export --model missing.onnx -o {}.onnx',
        'quantize missing.onnx --data synthetic -o {}.onnx',
        'predict missing -o {}',
        'calibrate missing.onnx --data synthetic -o {}.onnx',
        'calibrate missing.onnx --data synthetic -o new.onnx --plot {}.png',
        'replay missing -o {}',
        'demo --output {}',
        'score --gt_json_file a.json --pred_json_file b.json --json {}',
        'score-video a b --labels c --json {}',
    ],
)
def test_each_command_checks_before_it_reads(tmp_path, capsys, words):
    (tmp_path / 'file').touch()
    output = f'{tmp_path}/file/out'
    assert cli.main(words.format(output).split()) == 2
    assert f'{tmp_path}/file' in capsys.readouterr().err


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture
def inputs(tmp_path, monkeypatch) -> Path:
    """Files and folders that commands take for inputs until they read them."""
    for name in (
        'a.json',
        'b.json',
        'a/1.png',
        'c.yaml',
        'm.onnx',
        'gt/1.png',
        'gt/2.json',
        'data/val.json',
        'data/panoptic_val/0.png',
        'data/val/0.jpg',
        'out/bag/bag.mcap',
        'out/overlay.mp4',
        'out/table.md',
        'out/compare.json/summary.json',
        'out/predictions.json',
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / 'link.json').symlink_to('a.json')
    (tmp_path / 'recipe.yaml').write_text(json.dumps({'data': {'dataset': 'coco:data'}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


SCORE = 'score --gt_json_file a.json --pred_json_file b.json --json'
EVALUATE = 'evaluate --model m.onnx --data coco:data'

OVERWRITING = (
    'ablate out/table.md -o out',
    'benchmark m.onnx --json m.onnx',
    'data check data --json data/val.json',
    'data check coco:data --json data/test.json',
    'data check recipe.yaml --json recipe.yaml',
    'data check recipe.yaml --json data/val.json',
    'data show data -o data/val/0.jpg',
    'data show coco:data -o data/val/new.jpg',
    f'{EVALUATE} --json m.onnx',
    f'{EVALUATE} --json data/val.json',
    f'{EVALUATE} --relations m.onnx',
    f'{EVALUATE} --classes c.yaml --json c.yaml',
    f'{EVALUATE} -o data/val',
    'evaluate --predictions a.json --data coco:data --json a/1.png',
    'evaluate-tracking --model m.onnx --json m.onnx',
    'tune-decoder --model m.onnx --data coco:data -o data/val',
    'figures m.onnx --data coco:data -o data/val',
    'export --model m.onnx -o m.onnx',
    'export --checkpoint m.onnx -o m.onnx',
    'export --recipe m.onnx --untrained -o m.onnx',
    'export --from hf:m.onnx -o m.onnx',
    'export --from onnx:m.onnx --format semantic -o m.onnx',
    'replay bag --model hf:data -o data/out',
    'export --model m.onnx --scores m.onnx -o m.onnx',
    'predict data/val -o data/val',
    'predict m.onnx data/val -o data/val/out',
    'predict data/val --ids out/predictions.json -o out',
    'quantize m.onnx --data coco:data -o m.onnx',
    'calibrate m.onnx --data coco:data -o m.onnx',
    'calibrate m.onnx --data coco:data -o new.onnx --plot m.onnx',
    'replay out/bag -o out',
    'replay out/bag/bag.mcap -o out',
    'replay out/overlay.mp4 -o gt/../out',
    'replay out/bag -o out/bag',
    'replay out/bag -o out/bag/results',
    'replay m.onnx --gt out/bag -o out',
    'replay m.onnx --gt camera=out/bag -o out',
    'replay --compare out/compare.json gt -o out',
    'demo --bag out/bag --output out',
    'mine out/bag --model m.onnx -o out/bag',
    'data from-recording out/bag --model m.onnx -o out/bag',
    'data to-gt data -o data/val',
    'suite run data/val.json -o data/val',
    'suite compare out gt -o out',
    'demo --video out/overlay.mp4 --output out',
    f'{SCORE} a.json',
    f'{SCORE} gt/../b.json',
    f'{SCORE} link.json',
    f'{SCORE} a/1.png',
    'score-video gt a --labels c.yaml --json c.yaml',
    'score-video gt a --labels c.yaml --json gt/1.png',
    'score-video gt a --labels c.yaml --json gt/new.json',
)


@pytest.mark.parametrize('words', OVERWRITING)
def test_no_output_replaces_an_input(inputs, capsys, words):
    before = files_of(inputs)
    assert cli.main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'would replace the input' in error or 'would change the input folder' in error
    assert 'choose' in error
    assert files_of(inputs) == before


def outputs_of(parser: argparse.ArgumentParser, command: str = '') -> set[tuple[str, str]]:
    """All commands with the names of their outputs."""
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                found |= outputs_of(child, f'{command} {word}'.strip())
        elif action.dest in OUTPUTS:
            found.add((command, action.dest))
    return found


def test_the_outputs_of_all_commands_are_tested():
    others = {
        ('data convert', 'output'),  # in test_data.py, as it reads the data set first
        ('doctor', 'json'),  # it reads no file that the user names
        ('evaluate-tracking', 'cache'),  # no user's file has a name with the model's hash
        ('tune-tracker', 'cache'),
    }
    tested = {
        (command, name)
        for command, name in outputs_of(cli.make_parser())
        for words in OVERWRITING
        if words.startswith(f'{command} ')
        and {f'--{name}', '-o' if name == 'output' else f'--{name}'} & set(words.split())
    }
    assert outputs_of(cli.make_parser()) - tested == others


@pytest.mark.parametrize(
    ('words', 'name'),
    [
        ('demo --video gt --output mine', 'bag/mine.txt'),
        ('replay gt -o mine', 'bag/mine.txt'),
        ('replay gt -o mine', 'report.html'),
        ('replay gt -o mine', 'overlay.mp4'),
        ('replay --compare a gt -o mine', 'compare.html'),
        ('ablate hle_table6 -o mine', 'table.md'),
    ],
)
@pytest.mark.parametrize('mark', [None, '{}', '[]', '"settings published"'])
def test_files_of_unknown_origin_are_kept(inputs, capsys, words, name, mark):
    path = inputs / 'mine' / name
    path.parent.mkdir(parents=True)
    path.touch()
    if mark:
        for other in ('summary.json', 'results.json', 'compare.json'):
            (inputs / 'mine' / other).write_text(mark)
    before = files_of(inputs)
    assert cli.main(words.split()) == 2
    error = capsys.readouterr().err
    assert 'is not of an earlier run of this command; choose another folder' in error
    assert files_of(inputs) == before


def commands_of(parser: argparse.ArgumentParser) -> set[Callable[..., Any]]:
    """The functions of all commands with outputs."""
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found |= commands_of(child)
        elif action.dest in OUTPUTS:
            found.add(parser.get_default('func'))
    return found


def test_each_command_with_outputs_ends_with_their_places():
    """The names in the code of a command and of the functions that it calls in its module."""

    def names(function: Callable[..., Any]) -> set[str]:
        seen, waiting = set(), [function]
        while waiting:
            for name in names_in(waiting.pop().__code__) - seen:
                seen.add(name)
                other = vars(sys.modules[function.__module__]).get(name)
                if isinstance(other, FunctionType) and other.__module__ == function.__module__:
                    waiting.append(other)
        return seen

    def names_in(code: CodeType) -> set[str]:
        inner = [part for part in code.co_consts if isinstance(part, CodeType)]
        return set(code.co_names).union(*map(names_in, inner))

    commands = commands_of(cli.make_parser())
    assert len(commands) > 10
    silent = [f.__module__ for f in commands if 'report_saved' not in names(f)]
    assert silent == []


def test_the_last_lines_name_the_places_that_were_asked_for(capsys):
    report_saved('4 images', None)
    report_saved('4 images', Path('a.json'), None, Path('b'))
    report_saved('1 image', Path('out'), names=('table.md', 'bag'), next_command=('x', 'a b'))
    assert capsys.readouterr().out.splitlines() == [
        '4 images; saved to a.json and b',
        '1 image; saved to out (table.md, bag)',
        "next: panoptic x 'a b'",
    ]


def test_outputs_beside_inputs_are_accepted(inputs):
    for output in ('data/sheet.png', 'new.json', 'out/new.json'):
        require_apart(Path(output), '-o', [Path('data'), Path('a.json'), Path('missing')])
    require_apart(
        Path('out'), '-o', [Path('out/drive.mcap'), Path('/no/topic')], Results(('bag',))
    )


def test_rows_of_tables_are_not_wrapped_in_a_file(capsys):
    table_console().print(Table('a' * 90, 'b' * 90))
    assert any(
        'a' * 90 in line and 'b' * 90 in line for line in capsys.readouterr().out.split('\n')
    )
