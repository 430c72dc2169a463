# SPDX-License-Identifier: Apache-2.0
"""Cityscapes from a miniature of its official layout."""

import cv2
import numpy as np
import pytest

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.cityscapes import LABELS, decode
from panoptic_training.data.registry import open_reader

ROAD, CAR = 7, 26


def ids():
    """(6, 9) instanceIds: road, two cars, a group of cars, ego vehicle (void), a licence plate."""
    value = np.full((6, 9), ROAD, np.uint16)
    value[1:3, 1:3] = 26_000
    value[1:3, 4:6] = 26_001
    value[4, :3] = CAR
    value[5] = 1
    return value


@pytest.fixture
def folder(tmp_path):
    for split in ('train', 'val'):
        for city in ('aachen', 'bremen'):
            stem = f'{city}_000000_000019'
            for kind in ('leftImg8bit', 'gtFine'):
                (tmp_path / kind / split / city).mkdir(parents=True)
            picture = np.zeros((6, 9, 3), np.uint8)
            picture[..., 0] = 255  # blue, since files are written as BGR
            assert cv2.imwrite(
                str(tmp_path / f'leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png'), picture
            )
            assert cv2.imwrite(
                str(tmp_path / f'gtFine/{split}/{city}/{stem}_gtFine_instanceIds.png'), ids()
            )
    return tmp_path


def test_a_sample_has_classes_instances_and_crowds(folder):
    reader = open_reader(f'cityscapes:{folder}', 'val')
    assert len(reader) == 2 and reader.labels is LABELS
    sample = reader.read(1, 0)
    value = ids()
    car, road = LABELS.names.index('car'), LABELS.names.index('road')
    np.testing.assert_array_equal(
        sample.class_map, np.select([value == 1, value == ROAD], [VOID_ID, road], car)
    )
    np.testing.assert_array_equal(
        sample.instance_map, np.select([value == 26_000, value == 26_001], [1, 2], 0)
    )  # the group of cars is a crowd
    assert (sample.image == [0, 0, 255]).all()


def test_the_classes():
    assert (len(LABELS), int(LABELS.is_thing.sum())) == (19, 8)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (0, VOID_ID),
        (24, LABELS.names.index('person')),
        (25_003, LABELS.names.index('rider')),
        (34, VOID_ID),
        (29_001, VOID_ID),  # licence plate; a caravan, which is not scored
    ],
)
def test_each_id(value, expected):
    class_map, instance_map = decode(np.full((2, 2), value, np.int32))
    assert (class_map == expected).all()
    assert (instance_map > 0).all() == (value >= 1000 and expected != VOID_ID)


def test_missing_files_and_bad_ids_are_named(folder):
    with pytest.raises(FileNotFoundError, match='no images in'):
        open_reader(f'cityscapes:{folder}', 'test')
    label = next((folder / 'gtFine/val/bremen').iterdir())
    assert cv2.imwrite(str(label), ids()[:4])
    with pytest.raises(ValueError, match=r'bit\.png is 6 x 9, its labels .*Ids\.png are 4 x 9'):
        open_reader(f'cityscapes:{folder}', 'val')
    label.unlink()
    with pytest.raises(ValueError, match=r'1 of 2 samples are bad, e\.g\. .*does not exist'):
        open_reader(f'cityscapes:{folder}', 'val')
    with pytest.raises(ValueError, match='ids must lie in 0 to 255999, got -1 to 7'):
        decode(np.array([[-1, 7]]))
