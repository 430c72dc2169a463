# SPDX-License-Identifier: Apache-2.0
"""Example of a user's own family: it is trained and exported, and its file read without it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from graphs import random_image, run_onnx

from panoptic_ros.cli.main import main
from panoptic_ros.core.model_file import read_info

EXAMPLES = Path(__file__).parents[2] / 'examples'

SMALL = (
    '--model.network.backbone=mobilenetv2_035',
    '--model.network.channels=16',
    '--model.network.center_threshold=0.0',
    '--model.loss_stride=4',
    '--data.input_size=[64, 128]',
    '--data.crop=null',
    '--data.train={length: 4, frames_per_clip: 4, size: [64, 128]}',
    '--data.val={length: 2, size: [64, 128]}',
    '--data.batch_size=2',
    '--data.num_workers=0',
    '--trainer.max_steps=2',
    '--trainer.max_time=null',
    '--trainer.val_check_interval=2',
    '--trainer.accelerator=cpu',
)


def run(folder, *words):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / 'own_family.py'), *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(400)
def test_it_trains_and_its_file_needs_nothing_of_it(tmp_path, capsys):
    run(tmp_path, 'train', '--config', EXAMPLES / 'own_family.yaml', *SMALL)
    file = tmp_path / 'own.onnx'
    run(tmp_path, 'export', '--checkpoint', 'runs/own_family/checkpoints/last.ckpt', '-o', file)
    info = read_info(file)
    assert info.family == 'one_decoder'
    assert info.config['channels'] == info.embedding_dim == 16
    found = run_onnx(file, random_image((64, 128), 0), {})
    assert found['segment_map'].max() > 0
    assert np.isfinite(found['embedding'][found['valid']]).all()
    assert main(['evaluate', '--model', str(file), '--data', 'synthetic', '--limit', '1']) == 0
    assert 'PQ' in capsys.readouterr().out


@pytest.mark.timeout(400)
def test_a_study_of_it_is_run(tmp_path):
    study = {
        'title': 'Widths',
        'source': 'nobody',
        'recipe': str(EXAMPLES / 'own_family.yaml'),
        'seeds': [0],
        'limit': 1,
        'tune_trials': 0,
        'budget': {key: yaml.safe_load(value) for key, _, value in map(split_flag, SMALL)},
        'variants': [{'name': 'narrow', 'paper': {'pq': 50.0}}],
    }
    (tmp_path / 'study.yaml').write_text(yaml.safe_dump(study))
    run(tmp_path, 'ablate', 'study.yaml', '-o', 'out')
    assert '1 of 1 seeds finished' in (tmp_path / 'out/table.md').read_text()


def split_flag(flag):
    """Key and value of a flag."""
    return flag.removeprefix('--').partition('=')
