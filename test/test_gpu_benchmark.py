# SPDX-License-Identifier: Apache-2.0
"""examples/gpu_benchmark.sh: a dry run on the CPU, failing rows and the table."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / 'examples/gpu_benchmark.sh'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location(
        'gpu_benchmark', SCRIPT.with_name('gpu_benchmark.py')
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(*arguments, python=sys.executable, **variables):
    environment = {**os.environ, 'PYTHON': str(python), **variables}
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_dry_run_writes_the_table(tmp_path):
    pytest.importorskip('torch')
    rows = ['card', 'city/cudagraph/fp16']
    done = run_script('--dry-run', '--rows', *rows, OUT=str(tmp_path / 'out'), OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / 'out/gpu_benchmark.json').read_text())
    assert list(results) == rows and not any('error' in row for row in results.values())
    city = results['city/cudagraph/fp16']
    assert city['input'] == '64x128' and city['precision'] == 'fp16'
    measured = {'network_ms', 'decode_ms', 'total_ms', 'network_flops', 'network_bytes'}
    assert all(city[key] > 0 for key in measured)
    text = (tmp_path / 'out/gpu_benchmark.md').read_text()
    assert text.startswith('DRY RUN on the CPU, no measurement') and text in done.stdout
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'gpu_benchmark.json',
        'gpu_benchmark.md',
    ]


def test_the_script_needs_no_installation(tmp_path):
    """The shell script makes both packages importable, and removes what it made."""
    python = tmp_path / 'python'
    seen = tmp_path / 'seen'
    python.write_text(
        '#!/bin/sh\n'
        f'echo "$PYTHONPATH" > {seen}\n'
        'IFS=:; for folder in $PYTHONPATH; do\n'
        f'  for name in panoptic_ros panoptic_training; do ls "$folder/$name" >> {seen}; done\n'
        'done 2>/dev/null; echo "$@"; exit 3\n'
    )
    python.chmod(0o755)
    done = run_script(tmp_path, '--dry-run', python=python, PYTHONPATH='/known')
    assert done.returncode == 3
    assert done.stdout.endswith(f'gpu_benchmark.py {tmp_path} --dry-run\n')
    repository, links, known = seen.read_text().splitlines()[0].split(':')
    assert Path(repository) == SCRIPT.parents[1] and known == '/known'
    assert {'export.py', 'runtime'} <= set(seen.read_text().splitlines())
    assert not Path(links).exists()


@pytest.mark.parametrize(
    ('code', 'result'),
    [
        (
            'import json; print("a warning"); print(json.dumps({"network_ms": 1}))',
            {'network_ms': 1},
        ),
        ('raise MemoryError("no device memory")', {'error': 'MemoryError: no device memory'}),
        ('import sys; sys.exit(4)', {'error': 'exit status 4'}),
        ('print(7)', {'error': 'printed 7'}),
    ],
)
def test_a_row_that_fails_says_why(benchmark, code, result):
    assert benchmark.run_row([sys.executable, '-c', code], 20) == result


def test_a_row_that_hangs_is_ended_with_its_processes(benchmark):
    start = time.monotonic()
    result = benchmark.run_row(['sh', '-c', 'sleep 60 & sleep 60'], 0.2)
    assert result == {'error': 'ended after 0 s'} and time.monotonic() - start < 20


def test_all_rows_get_a_result(benchmark, monkeypatch):
    limits = []

    def run_row(command, limit_s):
        limits.append(limit_s)
        return (
            {'error': 'out of memory'} if 'hle_r50/compiled/fp16' in command else {'total_ms': 1}
        )

    monkeypatch.setattr(benchmark, 'run_row', run_row)
    results = dict(benchmark.run_rows(benchmark.ROWS, False))
    assert list(results) == [row.name for row in benchmark.ROWS]
    assert all(0 < limit <= row.limit_s for limit, row in zip(limits, benchmark.ROWS, strict=True))
    assert results['hle_r50/compiled/fp16']['error'] == 'out of memory'
    late = dict(benchmark.run_rows(benchmark.ROWS, False, deadline_s=1.0))
    assert {row['error'] for row in late.values()} == {'not begun: the time was over'}


def test_the_table_has_floors_and_leaves_out_what_was_not_measured(benchmark):
    card = {
        'gpu': 'Test GPU',
        'torch': '2',
        'bandwidth_gb_s': 2000.0,
        'fp32_tflops': 100.0,
        'fp16_tflops': 400.0,
    }
    row = {
        'input': '1024x2048',
        'precision': 'fp16',
        'network_ms': 5.0,
        'network_flops': 400e9,  # 1 ms
        'network_bytes': 4e9,  # 2 ms
        'decode_ms': 0.5,
        'decode_bytes': 200e6,
        'total_ms': 9.0,
    }
    text = benchmark.table({'card': card, 'a': row, 'b': {'error': 'no | memory'}}, False)
    lines = text.splitlines()
    assert lines[0] == 'Test GPU, PyTorch 2'
    assert lines[-2] == '| a | 1024x2048 | 5.00 | 2.00 | 0.50 | 0.10 | 9.00 |  |'
    assert lines[-1] == '| b |  |  |  |  |  |  | no / memory |'
    assert benchmark.floor_ms(card, {**row, 'network_flops': 1.6e12}, 'network') == 4
    assert 'None' not in benchmark.table({'card': {'error': 'x'}, 'a': row}, True)


def test_a_machine_without_gpu_is_told_of_the_dry_run(benchmark, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark, 'has_gpu', lambda: False)
    assert benchmark.main([str(tmp_path / 'out')]) == 1
    assert 'no NVIDIA GPU' in capsys.readouterr().out and not (tmp_path / 'out').exists()


def test_the_rows_end_within_eight_minutes(benchmark):
    assert benchmark.DEADLINE_S + 20 < 8 * 60
