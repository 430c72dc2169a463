# SPDX-License-Identifier: Apache-2.0
"""Class names, and label sets from plain values."""

import pytest

from panoptic_ros.core.labels import Label, LabelSet, as_bool

LABELS = LabelSet(
    tuple(
        Label(name, True, (1, 2, 3), i)
        for i, name in enumerate(('Car', 'person', 'PERSON', 'traffic sign'))
    )
)


@pytest.mark.parametrize(
    ('names', 'ids'),
    [
        (['car', 'Traffic Sign'], (0, 3)),
        (['person'], (1,)),  # an exact match wins
        (['PERSON'], (2,)),
        ([], ()),
    ],
)
def test_case_does_not_matter_for_unambiguous_names(names, ids):
    assert LABELS.class_ids(names) == ids


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('Person', "class 'Person' is ambiguous: person, PERSON; write it in the same case"),
        ('cat', "unknown class 'cat'; the classes are: Car, person, PERSON, traffic sign"),
        ('', "unknown class ''"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        LABELS.class_ids([name])


@pytest.mark.parametrize(
    ('value', 'meaning'),
    [(True, True), (0, False), (1.0, True), ('0', False), ('False', False), (' true ', True)],
)
def test_booleans_from_numbers_and_words(value, meaning):
    assert as_bool(value, 'x') is meaning


@pytest.mark.parametrize('value', [None, 2, float('nan'), 'yes', '', [1]])
def test_other_values_are_no_booleans(value):
    with pytest.raises(ValueError, match='is_thing must be true or false, got'):
        as_bool(value, 'is_thing')


def entry(**more):
    return {'name': 'car', 'is_thing': True, 'color': [1, 2, 3], **more}


@pytest.mark.parametrize(
    ('dicts', 'message'),
    [
        ([None], 'label 0 must have name, is_thing and color'),
        ([entry(is_thing='no')], "label 'car': is_thing must be true or false, got 'no'"),
        ([entry(color=5)], "label 'car': color must be"),
        ([entry(color=[1, 2, float('inf')])], "label 'car': color must be"),
        ([entry(category_id=None)], 'category_id must be a whole number'),
        ([entry(class_id=1)], 'expected its index in the list, 0'),
        ([{'name': 'car'}], 'label 0 lacks color, is_thing'),
    ],
)
def test_invalid_plain_values_are_refused(dicts, message):
    with pytest.raises(ValueError, match=message):
        LabelSet.from_dicts(dicts)


def test_is_thing_may_be_text():
    assert not LabelSet.from_dicts([entry(is_thing='false')]).is_thing[0]
    assert LabelSet.from_dicts(LABELS.to_dicts()) == LABELS
