# SPDX-License-Identifier: Apache-2.0
"""Atomic writes and folder locks, also when the writing process is killed."""

import fcntl
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from panoptic_ros.core.files import (
    FolderInUseError,
    atomic_write,
    lock_folder,
    replace_results,
    run_folder,
    write_bytes,
    write_json,
)

WRITER = """
import sys, time
from pathlib import Path
from panoptic_ros.core.files import lock_folder, atomic_write
folder = Path(sys.argv[1])
with lock_folder(folder, 'training'), atomic_write(folder / 'model.bin') as temporary:
    temporary.write_bytes(b'half')
    print('ready', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes `model.bin` and holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, '-c', WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'ready\n'
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != '.lock')


def test_a_file_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync

    def fsync(descriptor):
        real(descriptor)
        flushed.append(names(tmp_path))

    monkeypatch.setattr(os, 'fsync', fsync)
    write_bytes(b'1', tmp_path / 'a.bin')
    assert flushed[0] != ['a.bin'] and flushed[-1] == ['a.bin']


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_bytes(b'new')
        raise RuntimeError
    assert path.read_bytes() == b'old' and names(tmp_path) == ['a.bin']


def test_an_error_of_the_system_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r'a\.bin') as caught, atomic_write(tmp_path / 'a.bin'):
        raise OSError(28, 'No space left on device')
    assert caught.value.errno == 28
    with pytest.raises(FileNotFoundError, match=r'missing.*a\.bin'):
        write_bytes(b'', tmp_path / 'missing' / 'a.bin')


def test_files_have_the_usual_permissions(tmp_path):
    write_bytes(b'', tmp_path / 'a')
    (tmp_path / 'b').touch()
    assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode


def test_the_next_writer_removes_the_file_of_a_killed_one(tmp_path, writer):
    write_bytes(b'mine', tmp_path / 'model.bin')
    assert len(names(tmp_path)) == 2, 'the other still writes'
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    write_bytes(b'other', tmp_path / 'other.bin')
    assert len(names(tmp_path)) == 3, 'the temporary file belongs to another name'
    write_bytes(b'mine', tmp_path / 'model.bin')
    assert names(tmp_path) == ['model.bin', 'other.bin']


def test_the_next_run_removes_the_folders_of_killed_ones(tmp_path):
    (tmp_path / '.run-old' / 'bag').mkdir(parents=True)
    (tmp_path / '.run-old' / 'bag' / 'bag.mcap').touch()
    with lock_folder(tmp_path, 'demo'), run_folder(tmp_path) as folder:
        assert names(tmp_path) == [folder.name]
        assert folder.name.startswith('.run-')
    assert names(tmp_path) == []


def test_the_work_does_not_grow_with_the_folder(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError('the folder is searched for each file')

    for name in ('scandir', 'listdir'):
        monkeypatch.setattr(os, name, refuse)
    write_bytes(b'1', tmp_path / 'a.bin')
    monkeypatch.undo()
    assert names(tmp_path) == ['a.bin']


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path, sizes = tmp_path / 'a.bin', (10, 20_000)

    def write(size):
        for _ in range(200):
            write_bytes(bytes([size % 251]) * size, path)
            data = path.read_bytes()
            assert len(data) in sizes and len(set(data)) == 1

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, size) for size in sizes * 2]:
            done.result()
    assert names(tmp_path) == ['a.bin']


def test_a_locked_folder_is_refused_until_the_holder_ends(tmp_path, writer):
    with (
        pytest.raises(
            FolderInUseError,
            match=rf'in use by another training \(process '
            rf'{writer.pid}\)',
        ),
        lock_folder(tmp_path, 'x'),
    ):
        pass
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    with (
        lock_folder(tmp_path, 'replay'),
        pytest.raises(FolderInUseError, match='another replay'),
        lock_folder(tmp_path, 'x'),
    ):
        pass
    with lock_folder(tmp_path, 'replay'):
        pass


def test_a_forked_worker_does_not_hold_the_lock_of_its_parent(tmp_path):
    context = multiprocessing.get_context('fork')
    start, end = context.Event(), context.Event()

    def work():
        start.set()
        end.wait(60)

    worker = context.Process(target=work)
    with lock_folder(tmp_path, 'training'):
        worker.start()
        assert start.wait(60)
    try:
        with lock_folder(tmp_path, 'training'):  # as after a kill, while the worker still runs
            assert worker.is_alive()
    finally:
        end.set()
        worker.join()
    assert worker.exitcode == 0


def test_a_folder_on_a_full_disk_is_locked_too(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'pwrite', full)
    with (
        lock_folder(tmp_path, 'training'),
        pytest.raises(FolderInUseError, match='another process'),
        lock_folder(tmp_path, 'x'),
    ):
        pass


def test_an_error_leaves_no_folder_that_the_lock_created(tmp_path):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'locked').mkdir()
    (tmp_path / 'locked' / '.lock').touch()
    for name in ('there', 'locked', 'new/inner', 'used/inner'):
        with pytest.raises(KeyError), lock_folder(tmp_path / name, 'x'):
            if name == 'used/inner':
                (tmp_path / name / 'file').touch()
            raise KeyError
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')) == [
        'locked',
        'locked/.lock',
        'there',
        'used',
        'used/inner',
        'used/inner/file',
    ]


def test_a_lock_file_that_is_removed_meanwhile_does_not_lock(tmp_path, monkeypatch):
    real, opened = fcntl.flock, []

    def flock(descriptor, operation):
        if not opened:
            (tmp_path / '.lock').unlink()  # by a process that ends with an error
        opened.append(descriptor)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with lock_folder(tmp_path, 'x'), pytest.raises(FolderInUseError), lock_folder(tmp_path, 'x'):
        pass
    assert len(opened) == 3


def test_results_take_the_place_of_older_ones_and_nothing_else(tmp_path):
    new, old = tmp_path / 'new', tmp_path / 'old'
    for folder in (new, old):
        (folder / 'bag').mkdir(parents=True)
        (folder / 'bag' / f'{folder.name}.mcap').touch()
        for name in ('overlay.mp4', 'summary.json'):
            (folder / name).write_text(folder.name)
    (old / 'notes.txt').touch()
    replace_results(new, old, 'summary.json')
    assert [path.name for path in (old / 'bag').iterdir()] == ['new.mcap']
    assert (old / 'summary.json').read_text() == 'new'
    assert (old / 'notes.txt').exists()


def test_json_files_have_no_nan(tmp_path):
    values = {'a': [1.5, math.nan, (math.inf, None)], 'b': {'c': -math.inf, 'd': 'NaN'}}
    write_json(values, tmp_path / 'x.json')
    document = json.loads((tmp_path / 'x.json').read_text(), parse_constant=pytest.fail)
    assert document == {'a': [1.5, None, [None, None]], 'b': {'c': None, 'd': 'NaN'}}
