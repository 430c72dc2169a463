# SPDX-License-Identifier: Apache-2.0
"""The file of classes that all commands read. Its mistakes: see test/training/data."""

import doctest
import time

import numpy as np
import pytest
from tiny_model import LABELS

from panoptic_ros.core import class_file
from panoptic_ros.core.class_file import format_class_file, read_class_file
from panoptic_ros.core.labels import VOID_ID, Label, LabelSet


def read(tmp_path, text):
    path = tmp_path / 'classes.yaml'
    path.write_text(text)
    return read_class_file(path)


def test_the_example_runs():
    assert doctest.testmod(class_file).failed == 0


def test_what_is_written_is_read(tmp_path):
    names = ('yes', "it's: a [road]", 'Straße', '1')
    labels = LabelSet(tuple(Label(n, i % 2 == 1, (i, 2, 3), i) for i, n in enumerate(names)))
    found = read(tmp_path, format_class_file(labels, 256))
    assert found.labels == labels and found.divisor == 256 and found.ignore == frozenset()


@pytest.mark.parametrize(
    ('ids', 'expected'),
    [
        ([0, 1], [0, 1, -1]),
        ([7, 2], [-1, -1, 1, -1, -1, -1, -1, 0, -1]),
        ([255, 3], [-1, -1, -1, 1, -1]),
        ([300, 16_778], [-1]),  # 16778 * 1000 is no pixel of 24 bits
    ],
)
def test_class_ids_by_id(tmp_path, ids, expected):
    entries = ''.join(f'  - {{id: {i}, name: c{i}, kind: stuff}}\n' for i in ids)
    table = read(tmp_path, f'classes:\n{entries}').class_id_of
    np.testing.assert_array_equal(table[: len(expected)], expected)
    assert table[255] == (ids.index(255) if 255 in ids else VOID_ID)
    assert table[-1] == -1 and len(table) == max(255, *(i for i in ids if i < 16_777)) + 2


@pytest.mark.parametrize('divisor', [None, 256])
def test_the_old_form_is_read_with_a_warning(tmp_path, caplog, divisor):
    import yaml

    document = LABELS.to_dicts()
    if divisor:
        document = {'labels': document, 'label_divisor': divisor}
    found = read(tmp_path, yaml.safe_dump(document))
    assert found.divisor == (divisor or 1000)
    assert found.labels.names == LABELS.names and found.ignore == frozenset()
    assert found.labels == LABELS and found.ids == (0, 1, 2, 3), 'ids are places'
    assert 'classes.yaml has the form of an earlier version' in caplog.text


@pytest.mark.parametrize(
    ('count', 'words'),
    [(256, 'it lists 256 classes, expected at most 255'), (60_000, 'is larger than')],
)
def test_more_classes_than_a_model_can_have_are_refused_at_once(tmp_path, count, words):
    path = tmp_path / 'classes.yaml'
    rows = (f'  - {{id: {i}, name: class {i}, kind: stuff}}\n' for i in range(count))
    path.write_text('classes:\n' + ''.join(rows))
    start_s = time.process_time()
    with pytest.raises(ValueError, match=words):
        read_class_file(path)
    assert time.process_time() - start_s < 1
