# SPDX-License-Identifier: Apache-2.0
"""Files that give classes other ids and colours for consumers with label spaces of their own."""

import re
from dataclasses import replace

import numpy as np
import pytest
from disc_frames import Disc, make_frame
from tiny_model import LABELS

from panoptic_ros.core.class_file import format_class_file
from panoptic_ros.core.label_remap import published_frame, read_label_remap
from panoptic_ros.core.labels import LabelRemap
from panoptic_ros.spatial.points import label_cells

KITTI = """
classes:
  - {id: 7, name: floor, kind: stuff, color: [128, 64, 128]}
  - {id: 0, name: ball, kind: thing}
  - {id: 254, name: Box, kind: thing, color: [0, 0, 142]}
ignore: [99]
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text: str) -> LabelRemap:
        path = tmp_path / 'remap.yaml'
        path.write_text(text)
        return read_label_remap(path, LABELS)

    return read_text


def test_ids_colours_and_void_of_a_file(read):
    remap = read(KITTI)
    assert remap == LabelRemap(
        (7, None, 0, 254), ((128, 64, 128), None, None, (0, 0, 142)), void_id=99
    )
    labels = replace(LABELS, remap=remap)
    published = labels.published
    assert [(i, label.name) for i, label in published.items()] == [
        (0, 'ball'),
        (7, 'floor'),
        (254, 'box'),
    ]
    assert published[7].color == (128, 64, 128)
    assert published[0].color == tuple(LABELS.colors[2])  # the file gives none
    by_id = labels.by_published_id
    for i, label in published.items():
        assert by_id.labels[i] == label and tuple(by_id.colors[i]) == label.color
        assert by_id.is_thing[i] == label.is_thing


def test_without_a_file_classes_are_published_as_they_are():
    assert LABELS.by_published_id is LABELS
    assert list(LABELS.published) == [0, 1, 2, 3]
    frame = make_frame(0, Disc(50))
    assert published_frame(frame, LABELS) is frame


def test_the_printed_file_of_the_model_changes_nothing(read):
    remap = read(format_class_file(LABELS))
    assert remap.ids == (0, 1, 2, 3) and remap.void_id == 255
    assert remap.colors == tuple(label.color for label in LABELS.labels)


def test_frames_have_the_published_ids(read):
    labels = replace(LABELS, remap=read(KITTI))
    discs = [Disc(10 * i, 5, 4, class_id=i) for i in range(4)]
    frame = make_frame(0, *discs, size=(10, 40))
    confidence_map = np.where(frame.segment_map, 100 + frame.segment_map, 0).astype(np.uint8)
    frame = replace(frame, confidence_map=confidence_map)
    published = published_frame(frame, labels)
    for y, x in np.ndindex(frame.segment_map.shape):
        expected = {0: 7, 2: 0, 3: 254}.get(int(frame.semantic_map[y, x]), 99)
        assert published.semantic_map[y, x] == expected
        kept = published.segment_map[y, x]
        assert kept == (0 if expected == 99 else frame.segment_map[y, x])
        assert published.confidence_map[y, x] == (frame.confidence_map[y, x] if kept else 0)
    np.testing.assert_array_equal(label_cells(published).class_id, published.semantic_map)
    assert published.segments['class_id'].tolist() == [7, 0, 254]
    assert frame.segments['class_id'].tolist() == [0, 1, 2, 3]  # is not changed


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('classes: [{id: 1, name: tree, kind: stuff}]', "unknown class 'tree'; the classes are: "),
        ('classes: [{id: 255, name: wall, kind: stuff}]', "class 'wall': id must be 0 to 254, "),
        ('classes: [{id: -1, name: wall, kind: stuff}]', 'id must be a whole number from 0'),
        (
            'classes: [{id: 5, name: wall, kind: stuff}, {id: 5, name: box, kind: thing}]',
            'got twice: [5]',
        ),
        (
            'classes: [{id: 5, name: wall, kind: stuff}, {id: 6, name: Wall, kind: stuff}]',
            "class 'wall' is listed twice",
        ),
        (
            'classes: [{id: 5, name: wall, kind: thing}]',
            'of the model is stuff; write kind: stuff',
        ),
        (
            '{classes: [{id: 5, name: wall, kind: stuff}], ignore: [5]}',
            '5 is listed under `ignore',
        ),
        (
            '{classes: [{id: 5, name: wall, kind: stuff}], ignore: [256]}',
            'must be 0 to 255, got 256',
        ),
        ('classes: [{id: 5, name: wall, kind: stuff, color: red}]', 'color must be [red, green, '),
        ('road: {id: 7}', 'it needs a list `classes`'),
        ('', 'remap.yaml'),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(read, text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        read(text)
    assert '\n' not in str(caught.value) and 'remap.yaml' in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no class file at .*none.yaml'):
        read_label_remap(tmp_path / 'none.yaml', LABELS)
