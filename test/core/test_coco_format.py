# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON files with values of every wrong kind: one line that names file and place."""

import copy
import json

import pytest

from panoptic_ros.core.coco_format import read_annotations, read_images, read_json, read_labels
from panoptic_ros.core.json_values import file_name, flag, identity, number
from panoptic_ros.core.labels import Label, LabelSet

LABELS = LabelSet((Label('car', True, (0, 0, 142), 26), Label('road', False, (0, 0, 0), 0)))
GOOD = {
    'images': [{'id': 5, 'file_name': 'town/a.jpg', 'height': 4, 'width': 10}],
    'categories': [
        {'id': 26, 'name': 'car', 'isthing': 1, 'color': [0, 0, 142]},
        {'id': 0, 'name': 'road', 'isthing': 0},
    ],
    'annotations': [
        {
            'image_id': 5,
            'file_name': 'a.png',
            'segments_info': [{'id': 1, 'category_id': 26, 'iscrowd': 0}],
        }
    ],
}
HOSTILE = (
    None,
    True,
    -1,
    2**70,
    0.5,
    float('nan'),
    float('inf'),
    '',
    ' ',
    'a\0b',
    '../x',
    '/x',
    'C:\\x',
    '\ud800',
    [],
    [[]],
    [None],
    {},
    {'a': 1},
)


def read(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    value = read_json(path)
    labels = read_labels(value, path)
    return labels, read_images(value, path), read_annotations(value, path, path.parent, labels)


def places(value, way=()):
    """The way to each value of a document."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*way, key)
            yield from places(value[key], (*way, key))


@pytest.mark.parametrize('way', list(places(GOOD)), ids=str)
def test_a_value_of_another_kind_is_told_in_one_line(tmp_path, way):
    path = tmp_path / 'x.json'
    for value in HOSTILE:
        document = copy.deepcopy(GOOD)
        target = document
        for key in way[:-1]:
            target = target[key]
        target[way[-1]] = value
        try:
            read(path, document)
        except ValueError as error:
            assert str(error).startswith(str(path)), error
            assert '\n' not in str(error) and len(str(error)) < len(str(path)) + 200


@pytest.mark.parametrize(
    ('change', 'place'),
    [
        ({'images': None}, 'images must be a list, got None'),
        (
            {'images': [{'id': 1, 'file_name': 'a.jpg'}] * 2},
            r'a\.jpg and a\.jpg have the same image id 1; give each image its own',
        ),
        (
            {'images': [{'id': i, 'file_name': 'a.jpg'} for i in (1, 2)]},
            r'a\.jpg is listed as image 1 and as image 2',
        ),
        ({'images': [{'id': 1, 'file_name': 'a' * 1001}]}, 'a text of up to 1000 characters'),
        ({'categories': {'a': 1}}, 'categories must be a list'),
        (
            {'categories': [{'id': 1, 'name': 'a', 'isthing': 'no'}]},
            r"categories\[0\]: isthing must be true or false, got 'no'",
        ),
        (
            {'categories': [{'id': i, 'name': 'a', 'isthing': 1} for i in (1, 2)]},
            'categories: a label set needs each name once',
        ),
        ({'annotations': 3}, 'expected an object with a list `annotations`'),
        ({'annotations': [None]}, r'annotations\[0\]: expected an object, got None'),
        (
            {'annotations': [{'image_id': 5, 'file_name': 'a.png', 'segments_info': [{'id': 0}]}]},
            r'annotations\[0\]: segments_info\[0\]: id must be a whole number from 1 '
            r'to 16777215, got 0',
        ),
    ],
)
def test_the_place_is_named(tmp_path, change, place):
    with pytest.raises(ValueError, match=rf'x\.json.*{place}'):
        read(tmp_path / 'x.json', {**GOOD, **change})


@pytest.mark.parametrize(
    'text',
    [
        '[' * 100_000,
        '[1]',
        'null',
        '{"annotations": [',
        '\xff',
        '{"annotations": [' + '9' * 5000 + ']}',
    ],
)
def test_other_documents_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r'x\.json'):
        read(tmp_path / 'x.json', text)


def test_harmless_variants_are_read(tmp_path):
    document = {
        'images': [
            {'id': 5.0, 'file_name': 'town\\a.jpg', 'height': None, 'width': 10},
            {'id': 'six', 'file_name': 'Bürö ☕.jpg', 'height': '4', 'width': 10.0},
        ],
        'categories': [
            {'id': 300, 'name': ' car ', 'isthing': '1', 'color': None},
            {'id': '0', 'name': 'road', 'isthing': 'false'},
        ],
        'annotations': [
            {
                'image_id': 5,
                'file_name': './a.png',
                'extra': None,
                'segments_info': [
                    {'id': 1, 'category_id': 300, 'iscrowd': '0'},
                    {'id': 2, 'category_id': 300, 'iscrowd': 'true'},
                    {'id': 3, 'category_id': 0, 'iscrowd': None},
                ],
            }
        ],
    }
    path = tmp_path / 'x.json'
    labels, images, annotations = read(path, '\ufeff' + json.dumps(document))
    assert [(label.name, label.is_thing) for label in labels.labels] == [
        ('car', True),
        ('road', False),
    ]
    assert images[5].file_name == 'town/a.jpg' and images[5].size is None
    assert images['six'].file_name == 'Bürö ☕.jpg' and images['six'].size == (4, 10)
    assert annotations[5].path == tmp_path / 'a.png'
    assert annotations[5].category_of == {1: 300, 2: 300, 3: 0}
    assert annotations[5].crowd == {2}


@pytest.mark.parametrize(
    'name',
    [
        '../a.jpg',
        'x/../../a.jpg',
        '..\\a.jpg',
        '/etc/a.jpg',
        '\\\\server\\a.jpg',
        'C:\\a.jpg',
        'c:/a.jpg',
        '..',
        '.',
        'a\nb.jpg',
        7,
        None,
    ],
)
def test_file_names_stay_in_their_folder(name):
    with pytest.raises(ValueError, match='file_name'):
        file_name({'file_name': name})


def test_single_values():
    assert number({'id': '007'}, 'id') == 7 and number({'id': 7.0}, 'id') == 7
    assert identity({'id': -3}, 'id') == -3 and identity({'id': ' 3'}, 'id') == ' 3'
    assert flag({}, 'iscrowd', default=False) is False
    with pytest.raises(ValueError, match='`iscrowd` is missing'):
        flag({}, 'iscrowd')
