# SPDX-License-Identifier: Apache-2.0
"""Recordings in stores that fsspec opens: fetched, bounded, removed."""

import shutil

import pytest
from replay_bags import GT_TOPIC
from suite_runs import figures, rows_of, run_suite, summary_of, write_suite

from panoptic_ros.suite.fetch import local_copy
from panoptic_ros.suite.places import find_places

fsspec = pytest.importorskip('fsspec', reason='needs fsspec: pip install "panoptic_ros[fleet]"')


@pytest.fixture
def store(drives):
    files = fsspec.filesystem('memory')
    files.put(str(drives / 'rainy'), '/bucket/rainy', recursive=True)
    files.pipe('/bucket/broken.mcap', b'no bag')
    yield files
    files.rm('/bucket', recursive=True)


def test_a_folder_and_a_file_are_copied_and_removed(store, drives, tmp_path):
    for url in ('memory://bucket/rainy', 'memory://bucket/rainy/rainy.mcap'):
        with local_copy(url, tmp_path / 'copy', 1.0) as path:
            original = drives / url.removeprefix('memory://bucket/')
            expected = sorted(original.iterdir()) if original.is_dir() else [original]
            found = sorted(path.iterdir()) if path.is_dir() else [path]
            assert [file.name for file in found] == [file.name for file in expected]
            for one, other in zip(found, expected, strict=True):
                assert one.read_bytes() == other.read_bytes()
        assert not (tmp_path / 'copy').exists()


def test_a_copy_is_bounded(store, tmp_path):
    size = store.size('/bucket/rainy/rainy.mcap')
    with local_copy('memory://bucket/rainy/rainy.mcap', tmp_path / 'copy', size / 1e9) as path:
        assert path.stat().st_size == size
    with (
        pytest.raises(ValueError, match='is larger than fetch_gb'),
        local_copy('memory://bucket/rainy', tmp_path / 'copy', size / 1e9),
    ):
        pass
    assert not (tmp_path / 'copy').exists()


def test_patterns_find_recordings_in_a_store(store, tmp_path):
    found = find_places('memory://bucket/*', tmp_path, '')
    assert [place.name for place in found] == ['broken', 'rainy']
    assert all(place.path.startswith('memory://') for place in found)


@pytest.mark.usefixtures('in_process')
def test_results_are_those_of_a_local_recording(store, drives, tmp_path, finished):
    entries = [{'path': 'memory://bucket/*', 'ground_truth': GT_TOPIC}]
    suite = write_suite(tmp_path / 'suite.yaml', entries, model=str(drives / 'tiny.onnx'))
    assert run_suite(suite, '-o', tmp_path / 'out') == 1
    [failed] = summary_of(tmp_path / 'out')['failed']
    assert failed['name'] == 'broken' and 'is not an mcap file' in failed['error']
    assert [row['path'] for row in rows_of(tmp_path / 'out')][1].endswith('/bucket/rainy')
    assert figures(tmp_path / 'out')['rainy'] == figures(finished)['rainy']
    assert not list((tmp_path / 'out' / 'fetched').glob('*'))
    shutil.rmtree(tmp_path / 'out')


@pytest.mark.parametrize(
    ('url', 'error'),
    [
        ('nostore://bucket/x', 'nostore://bucket/x cannot be opened: Protocol not known: nostore'),
        ('memory://bucket/none.mcap', 'none.mcap cannot be read: '),
    ],
)
def test_what_cannot_be_fetched_is_one_line(store, tmp_path, url, error):
    with pytest.raises(ValueError) as caught, local_copy(url, tmp_path / 'copy', 1.0):
        pass
    assert error in str(caught.value) and '\n' not in str(caught.value)
