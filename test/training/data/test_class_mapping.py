# SPDX-License-Identifier: Apache-2.0
"""Labels of a data set in the classes of a model."""

from pathlib import Path

import numpy as np
import pytest

import panoptic_training
from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_training.data import camvid
from panoptic_training.data.class_mapping import MappedClasses, read_class_mapping
from panoptic_training.data.sample import HIDDEN_LAYERS, Sample
from panoptic_training.data.synthetic import LABELS as CITY

SHIPPED = {'camvid_city': (camvid.LABELS, CITY)}
"""Classes of data and model of each shipped mapping."""

DATA = LabelSet(
    tuple(
        Label(name, is_thing, (0, 0, 0), 10 + i)
        for i, (name, is_thing) in enumerate(
            [('lawn', False), ('dog', True), ('cat', True), ('rug', False), ('cup', True)]
        )
    )
)
MODEL = LabelSet(
    (
        Label('floor', False, (1, 1, 1), 0),
        Label('animal', True, (2, 2, 2), 1),
        Label('clutter', False, (3, 3, 3), 2),
    )
)


class Reader:
    labels, clips, image_ids, image_names = DATA, ((1, 0),), [2, 1], ['b', 'a']
    submission = 'name'

    def __len__(self):
        return 2

    def order(self, rng):
        return np.array([1, 0])

    def read(self, index, epoch_seed):
        return Sample(
            np.full((1, 8, 3), 10 * index + epoch_seed, np.uint8),
            np.array([[0, 1, 1, 2, 3, 4, 4, VOID_ID]], np.uint8),
            np.array([[0, 5, 0, 6, 0, 7, 7, 0]], np.int32),  # the second dog is a crowd
            np.int32([[[5, 0, 6, 7, 9, 0, 5, 0]]] * HIDDEN_LAYERS) if index else None,
        )


@pytest.fixture
def mapped():
    mapping = {'lawn': 'floor', 'dog': 'animal', 'cat': 'animal', 'cup': 'clutter'}
    return MappedClasses(Reader(), MODEL, mapping)


def test_classes_are_mapped_and_the_others_are_void(mapped):
    sample = mapped.read(0, 3)
    assert sample.class_map.tolist() == [[0, 1, 1, 1, VOID_ID, 2, 2, VOID_ID]]
    assert sample.instance_map.tolist() == [[0, 5, 0, 6, 0, 0, 0, 0]]
    assert sample.class_map.dtype == np.uint8 and sample.instance_map.dtype == np.int32
    assert sample.hidden_map is None and (sample.image == 3).all()


def test_hidden_parts_remain_for_things(mapped):
    hidden = mapped.read(1, 0).hidden_map
    assert hidden.tolist() == [[[5, 0, 6, 0, 0, 0, 5, 0]]] * HIDDEN_LAYERS
    assert hidden.dtype == np.int32


def test_all_else_is_that_of_the_data(mapped):
    assert mapped.labels is MODEL and len(mapped) == 2
    assert (mapped.clips, mapped.image_ids) == (Reader.clips, Reader.image_ids)
    assert mapped.image_names == Reader.image_names
    assert mapped.order(np.random.default_rng(0)).tolist() == [1, 0]


def test_a_file_lists_classes_or_null(tmp_path):
    path = tmp_path / 'classes.yaml'
    path.write_text('lawn: floor\nrug: null\ncup:   # nothing\n')
    assert read_class_mapping(path, DATA, MODEL) == {'lawn': 'floor'}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is empty, expected a YAML file'),
        ('[lawn, floor]', 'must hold lines'),
        ('{}', 'maps no class'),
        ('lawn: null', 'maps no class'),
        ('grass: null', "the data has no class 'grass'; its classes are: lawn, dog, cat, rug"),
        ('no: floor', 'the data has no class False'),
        ('lawn: grass', "the model has no class 'grass'; its classes are: floor, animal, clutter"),
        ('lawn: [floor]', r"the model has no class \['floor'\]"),
        ('rug: animal', "'rug' is stuff, so its pixels have no instances and cannot map to the"),
        ('lawn: [', 'is not YAML'),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    path = tmp_path / 'classes.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_class_mapping(path, DATA, MODEL)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


def test_each_shipped_mapping_is_valid():
    files = sorted((Path(panoptic_training.__file__).parent / 'mappings').glob('*'))
    assert [file.stem for file in files] == sorted(SHIPPED)
    for file in files:
        read_class_mapping(file, *SHIPPED[file.stem])


def test_camvid_has_every_class_of_the_city():
    file = Path(panoptic_training.__file__).parent / 'mappings/camvid_city.yaml'
    mapping = read_class_mapping(file, camvid.LABELS, CITY)
    assert sorted(mapping.values()) == sorted(CITY.names)
    assert set(camvid.LABELS.names) - mapping.keys() == {'sign', 'fence'}
