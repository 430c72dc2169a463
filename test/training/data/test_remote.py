# SPDX-License-Identifier: Apache-2.0
"""Data sets in an object store; the store is fsspec's in memory."""

import threading
from pathlib import Path

import numpy as np
import pytest
from tiny_data import make_data

from panoptic_ros.cli.main import main
from panoptic_training.data.registry import open_reader
from panoptic_training.data.remote import local_copy

fsspec = pytest.importorskip('fsspec')


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A data set in a store of its own; returns the store and the local original."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    original = make_data(tmp_path / 'data')
    files = fsspec.filesystem('memory')
    files.put(str(original), '/bucket/my_data', recursive=True)
    yield files, original
    files.rm('/bucket', recursive=True)


URL = 'memory://bucket/my_data'


def copied(monkeypatch, files):
    """Record which files are read from the store."""
    names, get_file = [], type(files).get_file

    def record(self, path, *rest, **options):
        names.append(Path(path).name)
        return get_file(self, path, *rest, **options)

    monkeypatch.setattr(type(files), 'get_file', record)
    return names


def test_samples_are_those_of_the_original(store):
    _, original = store
    here, there = (open_reader(f'coco:{folder}', 'val') for folder in (original, URL))
    assert len(here) == len(there) == 4 and here.image_ids == there.image_ids
    for index in range(4):
        one, other = here.read(index, 0), there.read(index, 0)
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.class_map, other.class_map)
        assert np.array_equal(one.instance_map, other.instance_map)


def test_only_changes_are_copied(store, monkeypatch):
    files, _ = store
    names = copied(monkeypatch, files)
    folder = local_copy(URL)
    assert len(names) == 9  # 4 images, 4 PNGs, the JSON file
    names.clear()
    assert local_copy(URL) == folder and not names
    files.pipe('/bucket/my_data/val/scene1.png', b'changed')
    files.rm('/bucket/my_data/val/scene2.png')
    (folder / 'val/scene3.png').unlink()
    local_copy(URL)
    assert sorted(names) == ['scene1.png', 'scene3.png']
    assert (folder / 'val/scene1.png').read_bytes() == b'changed'
    assert not (folder / 'val/scene2.png').exists()


def test_a_copy_that_was_stopped_goes_on(store, monkeypatch):
    files, _ = store
    get_file = type(files).get_file

    def fail(self, path, *rest, **options):
        if path.endswith('scene2.png'):
            raise OSError('the network is down')
        return get_file(self, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(files), 'get_file', fail)
        with pytest.raises(ValueError, match='cannot be copied: the network is down'):
            local_copy(URL)
    names = copied(monkeypatch, files)
    local_copy(URL)
    assert 'scene2.png' in names and len(names) < 9


def test_processes_wait_for_each_other(store):
    """Threads in place of processes: none continues before the copy is complete."""
    sizes = []

    def read():
        sizes.append(len(open_reader(f'coco:{URL}', 'val')))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sizes == [4, 4, 4]


def test_commands_take_the_url(store, tiny_model, capsys):
    words = ('--model', str(tiny_model), '--data', f'coco:{URL}')
    assert main(['evaluate', *words]) == 0
    assert '4 images' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('url', 'error'),
    [
        ('memory://bucket/nothing', 'memory://bucket/nothing holds no file'),
        ('nostore://bucket/x', 'nostore://bucket/x cannot be opened: Protocol not known: nostore'),
    ],
)
def test_what_cannot_be_read_is_one_line(store, url, error, tiny_model, capsys):
    assert main(['evaluate', '--model', str(tiny_model), '--data', f'coco:{url}']) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and error in message


def test_names_that_lead_out_of_the_folder_are_refused(store, monkeypatch):
    files, _ = store
    found = {'/bucket/my_data/../../evil.json': {'size': 1}}
    with monkeypatch.context() as patch:
        patch.setattr(type(files), 'find', lambda *args, **options: found)
        with pytest.raises(ValueError, match='leads out of the folder'):
            local_copy(URL)
