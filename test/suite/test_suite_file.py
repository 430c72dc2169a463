# SPDX-License-Identifier: Apache-2.0
"""Suite files: recordings that they name, and what is refused."""

import re

import pytest
from suite_runs import write_suite

from panoptic_ros.suite.suite_file import read_suite


@pytest.fixture
def folder(tmp_path):
    for place in ('drives/day/bag', 'drives/night/bag', 'drives/night/other'):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / 'clip.mp4').touch()
    return tmp_path


def read(folder, *entries, **keys):
    return read_suite(write_suite(folder / 'suite.yaml', list(entries), **keys))


@pytest.mark.parametrize(
    ('entry', 'names'),
    [
        ({'path': 'clip.mp4'}, ['clip']),
        ({'path': 'drives/day/bag', 'name': 'monday'}, ['monday']),
        ({'path': 'drives/*/bag'}, ['day_bag', 'night_bag']),
        ({'path': 'drives/night/*'}, ['bag', 'other']),
        ({'path': 'drives/night/*', 'name': 'n'}, ['n_bag', 'n_other']),
        ({'path': 'drives/**/bag'}, ['day_bag', 'night_bag']),
        ({'path': 'not/there'}, ['there']),  # found out when it is replayed
        ({'path': 's3://bucket/drives/monday.mcap'}, ['monday']),
    ],
)
def test_names_of_recordings(folder, entry, names):
    found = read(folder, entry).recordings
    assert [recording.name for recording in found] == names


def test_values_are_those_of_the_file(folder):
    suite = read(
        folder,
        {
            'path': 'drives/*/bag',
            'cameras': ['/front/image_raw', '/rear/image_raw'],
            'ground_truth': {'front': '/gt', 'rear': 'labels/{name}'},
            'tags': ['rain'],
        },
        name='release',
        model='city.onnx',
        cpus=2,
        gpus=0.5,
        memory_gb=3,
    )
    assert (suite.name, suite.model, suite.config) == ('release', folder / 'city.onnx', None)
    assert (suite.cpus, suite.gpus, suite.memory_gb) == (2, 0.5, 3.0)
    one = suite.recordings[1]
    assert one.path == str(folder / 'drives/night/bag') and one.tags == ('rain',)
    assert one.ground_truth == ('front=/gt', f'rear={folder}/labels/night_bag')
    assert read(folder, {'path': 'clip.mp4'}).name == 'suite'


@pytest.mark.parametrize(
    ('entries', 'keys', 'error'),
    [
        ([], {}, 'recordings must name at least one'),
        (None, {}, 'recordings must be a list, got None'),
        (['clip.mp4'], {}, r"recordings\[0\]: expected an object, got 'clip.mp4'"),
        ([{}], {}, r'recordings\[0\]: `path` is missing'),
        ([{'path': 'nothing_*'}], {}, r'recordings\[0\]: path nothing_\* matches nothing'),
        ([{'path': 'x', 'tag': []}], {}, r"recordings\[0\]: unknown key 'tag'; did you mean tags"),
        ([{'path': 'x', 'tags': 'rain'}], {}, "tags must be a list of texts, got 'rain'"),
        ([{'path': 'x', 'tags': ['a', 'a']}], {}, 'tags must differ'),
        ([{'path': 'x', 'ground_truth': 's3://a/b'}], {}, 'must be a topic or a folder'),
        ([{'path': 'x'}], {'cpus': 0}, 'cpus must be a whole number from 1 to 1024, got 0'),
        ([{'path': 'x'}], {'memory_gb': 0}, 'memory_gb must be a number over 0'),
        ([{'path': 'x'}], {'gpus': 'one'}, 'gpus must be a number of at least 0'),
        ([{'path': 'x'}], {'modle': 'x'}, "unknown key 'modle'; did you mean model?"),
        (
            [{'path': 'drives/day/bag'}, {'path': 'drives/night/bag'}],
            {},
            'two recordings have the name bag: .*day/bag and .*night/bag; give one of them a',
        ),
    ],
)
def test_what_is_refused(folder, entries, keys, error):
    path = write_suite(folder / 'suite.yaml', entries, **keys)
    with pytest.raises(ValueError) as caught:
        read_suite(path)
    assert str(caught.value).startswith(f'{path}: ') and '\n' not in str(caught.value)
    assert re.search(error, str(caught.value)), caught.value
