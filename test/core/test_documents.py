# SPDX-License-Identifier: Apache-2.0
"""JSON and YAML of unknown origin: limits, and error messages that name the file."""

import pytest

from panoptic_ros.core import documents
from panoptic_ros.core.documents import DocumentError, parse_yaml, read_json, read_yaml

BOMB = 'a: &a [x,x,x,x,x,x,x,x,x]\n' + ''.join(
    f'{name}: &{name} [{",".join([f"*{before}"] * 9)}]\n'
    for before, name in zip('abcdefgh', 'bcdefghi', strict=True)
)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (BOMB, 'more than'),
        ('&a {b: *a}', 'refers to itself'),
        ('&a [1, [2, *a]]', 'refers to itself'),
        ('[' * 5000, 'deep'),
        ('[' * 70 + ']' * 70, 'deep'),
        ('- ' * 5000 + 'x', 'deep'),
        ('a: [1', r'line'),
        ('!!python/object/apply:os.system [true]', 'constructor'),
        ('2026-99-99', 'month'),
        ('9' * 5000, 'digits'),
        ('{[1]: 2}', 'unhashable'),
        ('a: *b', 'undefined alias'),
        ('a: 1\nb: 2\n"a": 3', r"the key 'a' occurs twice \(line 3\)"),
        ('x: [{1: a, 2: b, 1: c}]', "'1' occurs twice"),
    ],
)
def test_yaml_is_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / 'some.yaml'
    path.write_text(text)
    with pytest.raises(DocumentError, match=reason) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_yaml_with_aliases_is_read():
    text = 'a: &a {x: 1}\nb: *a\nc: {<<: *a, <<: {z: 3}, y: [2, *a], x: 1}'
    assert parse_yaml(text, 'text') == {
        'a': {'x': 1},
        'b': {'x': 1},
        'c': {'x': 1, 'y': [2, {'x': 1}], 'z': 3},
    }


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'[' * 100_000, 'deep'),
        (b'{"a":' * 100_000, 'deep'),
        (b'{"a": }', 'not JSON'),
        (b'\xff\xfe{}', 'UTF-8'),
        (b'1' * 5000, 'not JSON'),
    ],
)
def test_json_is_refused_in_one_line(tmp_path, data, reason):
    path = tmp_path / 'some.json'
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=reason) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('read', [read_json, read_yaml])
def test_a_byte_order_mark_is_skipped(tmp_path, read):
    path = tmp_path / 'file'
    path.write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert read(path) == {'a': [1]}


@pytest.mark.parametrize('read', [read_json, read_yaml])
def test_a_file_above_the_limit_is_not_parsed(tmp_path, read):
    path = tmp_path / 'file'
    path.write_bytes(b'[1, 2]')
    assert read(path, max_bytes=6) == [1, 2]
    with pytest.raises(DocumentError, match='larger than 5 bytes'):
        read(path, max_bytes=5)


def test_values_repeated_by_aliases_count(monkeypatch):
    monkeypatch.setattr(documents, 'MAX_NODES', 8)
    assert parse_yaml('[&a [1, 1], *a]', 'text') == [[1, 1], [1, 1]]  # 7 values
    with pytest.raises(DocumentError, match='more than 8 values'):
        parse_yaml('[&a [1, 1], *a, 2, 3]', 'text')
