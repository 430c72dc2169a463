# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate --oracle`."""

import json

from checkpoints import write_checkpoint
from small_models import SMALL_CIAE

from panoptic_ros.cli.main import main


def test_oracle_scores_a_checkpoint(tmp_path, capsys):
    path = write_checkpoint(tmp_path / 'some.ckpt', 'ciae', {**SMALL_CIAE, 'stride': 4})
    flags = [
        'evaluate',
        '--model',
        str(path),
        '--data',
        'synthetic',
        '--limit',
        '1',
        '--json',
        str(tmp_path / 'scores.json'),
    ]
    assert main([*flags, '--oracle']) == 0
    assert json.loads((tmp_path / 'scores.json').read_text())['oracle'] is True
    assert ', 1 image\n' in capsys.readouterr().out


def test_oracle_needs_a_checkpoint(tmp_path, capsys, tiny_model):
    assert (
        main(
            [
                'evaluate',
                '--model',
                str(tiny_model),
                '--data',
                'synthetic',
                '--limit',
                '1',
                '--oracle',
            ]
        )
        == 2
    )
    assert capsys.readouterr().err.startswith('panoptic: error: ')
