# SPDX-License-Identifier: Apache-2.0
"""Output paths are checked before the work starts."""

import os

import pytest

from panoptic_ros.cli import main as cli
from panoptic_ros.cli.output import check_folder


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
        'train --config hle_mobilenetv2_city --trainer.default_root_dir {}',
        'export --model missing.onnx -o {}.onnx',
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
