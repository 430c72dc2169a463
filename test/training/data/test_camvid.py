# SPDX-License-Identifier: Apache-2.0
"""CamVid from a generated folder, and the published data set if it is available."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.camvid import LABELS, components
from panoptic_training.data.registry import open_reader

CAMVID = Path(__file__).parents[4] / 'shared/data/camvid'
SKY, ROAD, CAR, PEDESTRIAN, UNLABELLED = 0, 3, 8, 9, 11


def scene():
    """(24, 40) ids: sky above road, two cars, a pedestrian and a corner without label."""
    ids = np.full((24, 40), ROAD, np.uint8)
    ids[:10] = SKY
    ids[12:20, 2:12] = CAR
    ids[12:20, 14:24] = CAR
    ids[12:20, 28:36] = PEDESTRIAN
    ids[0:2, 0:2] = UNLABELLED
    return ids


def write(folder, split, stem, ids, image=None):
    for name in ('images', 'labels'):
        (folder / split / name).mkdir(parents=True, exist_ok=True)
    if image is None:
        image = np.zeros((*ids.shape, 3), np.uint8)
        image[..., 0] = 255  # blue, since files are written as BGR
    assert cv2.imwrite(str(folder / split / f'images/{stem}.png'), image)
    assert cv2.imwrite(str(folder / split / f'labels/{stem}.png'), ids)


@pytest.fixture
def folder(tmp_path):
    """Two images in each split."""
    for split in ('train', 'val', 'test'):
        write(tmp_path, split, 'b', scene())
        write(tmp_path, split, 'a', np.full((24, 40), ROAD, np.uint8))
    return tmp_path


def test_a_sample_has_rgb_classes_and_instances(folder):
    reader = open_reader(f'camvid:{folder}', 'train')
    assert len(reader) == 2 and reader.labels is LABELS
    first, second = reader.read(0, 0), reader.read(1, 5)
    assert (first.class_map == ROAD).all() and (first.instance_map == 0).all()  # a.png
    assert second.image[0, 0].tolist() == [0, 0, 255]
    np.testing.assert_array_equal(second.class_map[0:2, 0:2], VOID_ID)
    np.testing.assert_array_equal(second.class_map[2:], scene()[2:])
    ids = [second.instance_map[15, x] for x in (5, 18, 30)]
    assert sorted(ids) == [1, 2, 3] and (second.instance_map[:10] == 0).all()
    assert second.instance_map.dtype == np.int32 and second.class_map.dtype == np.uint8


def test_order_takes_each_once(folder):
    reader = open_reader(f'camvid:{folder}', 'val')
    assert sorted(reader.order(np.random.default_rng(0)).tolist()) == [0, 1]


def test_small_regions_of_things_become_void():
    ids = np.full((12, 20), ROAD, np.uint8)
    ids[1:5, 1:5] = CAR  # 16 px
    ids[1:3, 10:12] = CAR  # 4 px
    ids[8:10, 1:3] = PEDESTRIAN  # 4 px
    ids[8, 10] = SKY  # stuff may be small
    class_map, instance_map = components(ids, LABELS.is_thing, min_area=5)
    assert (class_map[1:3, 10:12] == VOID_ID).all() and (class_map[8:10, 1:3] == VOID_ID).all()
    assert class_map[8, 10] == SKY
    assert np.unique(instance_map).tolist() == [0, 1]
    np.testing.assert_array_equal(instance_map == 1, class_map == CAR)
    assert ids[1, 10] == CAR, 'the map given is left as it was'


def test_corners_join_and_classes_do_not():
    ids = np.full((6, 6), ROAD, np.uint8)
    ids[1, 1] = ids[2, 2] = CAR  # by their corners
    ids[4, 4], ids[4, 5] = CAR, PEDESTRIAN  # side by side
    class_map, instance_map = components(ids, LABELS.is_thing, min_area=1)
    assert instance_map[1, 1] == instance_map[2, 2]
    assert len({instance_map[1, 1], instance_map[4, 4], instance_map[4, 5], 0}) == 4
    np.testing.assert_array_equal(class_map, ids)


def test_an_image_without_things_has_no_instance():
    class_map, instance_map = components(np.full((4, 4), VOID_ID, np.uint8), LABELS.is_thing, 1)
    assert (class_map == VOID_ID).all() and (instance_map == 0).all()


def test_min_area_is_an_option(folder):
    sample = open_reader(f'camvid:{folder}', 'train', min_area=200).read(1, 0)
    assert sample.instance_map.max() == 0


@pytest.mark.parametrize(
    ('spoil', 'error', 'message'),
    [
        (
            lambda d: (d / 'images/a.png').unlink(),
            ValueError,
            r'1 of 2 samples are bad, e\.g\. .*images/a\.jpg does not exist',
        ),
        (lambda d: (d / 'labels/b.png').unlink(), ValueError, r'labels/b\.png does not exist'),
        (lambda d: [p.unlink() for p in d.glob('*/*')], FileNotFoundError, 'no images in'),
        (
            lambda d: cv2.imwrite(str(d / 'labels/a.png'), np.full((24, 40), 12, np.uint8)),
            ValueError,
            r'labels/a\.png: ids must lie in 0 to 11, got 12',
        ),
        (
            lambda d: cv2.imwrite(str(d / 'labels/a.png'), np.full((24, 40, 3), 1, np.uint8)),
            ValueError,
            r'labels/a\.png: ids must lie in 0 to 11, got 65793',
        ),
        (
            lambda d: (d / 'labels/a.png').write_bytes(b'no picture'),
            ValueError,
            r'labels/a\.png is not an image',
        ),
        (
            lambda d: cv2.imwrite(str(d / 'labels/a.png'), np.zeros((24, 39), np.uint8)),
            ValueError,
            r'a\.png is 24 x 40, its labels .*a\.png are 24 x 39',
        ),
        (
            lambda d: (d / 'images/a.png').write_bytes(b'no picture'),
            ValueError,
            r'images/a\.png is not an image',
        ),
    ],
)
def test_bad_files_are_found_at_opening(folder, spoil, error, message):
    spoil(folder / 'val')
    with pytest.raises(error, match=message):
        open_reader(f'camvid:{folder}', 'val')
    open_reader(f'camvid:{folder}', 'train')


def test_mistakes_are_named(folder):
    with pytest.raises(ValueError, match="splits train, val, test, got 'all'"):
        open_reader(f'camvid:{folder}', 'all')
    with pytest.raises(ValueError, match="no option 'minarea'; did you mean min_area"):
        open_reader(f'camvid:{folder}', 'val', minarea=3)


@pytest.mark.skipif(not CAMVID.is_dir(), reason='needs camvid')
@pytest.mark.parametrize(('split', 'count'), [('train', 367), ('val', 101), ('test', 233)])
def test_the_published_splits_open(split, count):
    reader = open_reader(f'camvid:{CAMVID}', split)
    assert len(reader) == count
    sample = reader.read(count // 2, 0)
    assert sample.image.shape[:2] == sample.class_map.shape
    assert set(np.unique(sample.class_map)) <= {*range(11), VOID_ID}
    assert sample.instance_map.max() >= 1
