# SPDX-License-Identifier: Apache-2.0
"""The synthetic city as a data set: new streets in training, fixed ones in validation."""

import numpy as np
import pytest

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.registry import open_reader
from panoptic_training.data.synthetic import SPLITS
from panoptic_training.data.synthetic.dataset import City
from panoptic_training.data.synthetic.light import make_light

SIZE = (64, 128)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ('image', 'class_map', 'instance_map')
    )


@pytest.fixture(scope='module')
def samples():
    """Return training samples of one epoch."""
    city = City('train', SIZE, length=12, frames_per_clip=2)
    return [city.read(index, epoch_seed=9) for index in range(12)]


def test_samples_are_images_with_classes_and_instances(samples):
    is_thing = np.append(City.labels.is_thing, False)
    count = 0
    for sample in samples:
        assert sample.image.shape == (*SIZE, 3) and sample.image.dtype == np.uint8
        assert sample.class_map.dtype == np.uint8 and sample.instance_map.dtype == np.int32
        assert (sample.class_map != VOID_ID).all() and sample.class_map.max() < 9
        np.testing.assert_array_equal(sample.instance_map > 0, is_thing[sample.class_map])
        for instance in np.unique(sample.instance_map)[1:]:
            assert len(np.unique(sample.class_map[sample.instance_map == instance])) == 1
            count += 1
    assert count > 12, 'training needs people and cars'


def test_training_is_new_each_epoch_and_the_same_for_its_seed(samples):
    city = City('train', SIZE, length=12, frames_per_clip=2)
    assert same(city.read(3, 9), samples[3])
    assert not same(city.read(3, 10), samples[3])
    assert len({sample.image.tobytes() for sample in samples}) == 12


def test_frames_of_a_street_share_it(monkeypatch):
    from panoptic_training.data.synthetic import dataset as module

    streets = []

    def record(seed, size, **options):
        streets.append(seed)
        return clip(seed, size, **options)

    clip = module._clip
    monkeypatch.setattr(module, '_clip', record)
    city = City('train', SIZE, length=6, frames_per_clip=3)
    for index in range(6):
        city.read(index, 1)
    assert streets[0] == streets[1] == streets[2] != streets[3] == streets[4] == streets[5]
    assert set(streets) <= set(SPLITS['train'])


def test_validation_is_fixed():
    one, other = City('val', SIZE, length=3), City('val', SIZE, length=3)
    for index in range(3):
        assert same(one.read(index, 0), other.read(index, 0))
    assert not same(one.read(0, 0), one.read(1, 0))
    assert not same(one.read(0, 0), City('test', SIZE).read(0, 0))


def test_splits_share_no_street():
    names = sorted(SPLITS)
    for one in names:
        for other in names:
            assert one == other or not set(SPLITS[one]) & set(SPLITS[other])
    assert City('val').seeds is SPLITS['val'] and City('train').seeds is SPLITS['train']


@pytest.mark.parametrize(('length', 'per_clip'), [(40, 2), (5, 3), (16, 1)])
def test_an_epoch_reads_each_sample_once_and_few_streets_at_a_time(length, per_clip):
    order = City('train', SIZE, length, per_clip).order(np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(length))
    block = 8 * per_clip
    for start in range(0, length, block):
        assert set(order[start : start + block]) == set(range(start, min(start + block, length)))


def test_frames_of_a_short_clip_stay_together_and_are_close_in_time(monkeypatch):
    from panoptic_training.data.synthetic import dataset as module

    numbers = []

    class Recorded(module.SyntheticClip):
        def frame(self, number):
            numbers.append(number)
            return super().frame(number)

    monkeypatch.setattr(module, '_clip', Recorded)
    city = City('train', SIZE, length=36, frames_per_clip=6, clip_length=3, max_frame_gap=5)
    order = city.order(np.random.default_rng(0))
    rows = order.reshape(-1, 3)
    assert sorted(rows[:, 0].tolist()) == list(range(0, 36, 3)) != rows[:, 0].tolist()
    np.testing.assert_array_equal(rows, rows[:, :1] + [0, 1, 2])
    for index in range(6):
        city.read(index, 4)
    assert all(0 <= n - numbers[0] < 5 for n in numbers[1:3])
    assert all(0 <= n - numbers[3] < 5 for n in numbers[4:6])
    assert numbers[0] != numbers[3] and len(set(numbers[:3])) > 1


def test_single_frames_are_shuffled_within_blocks():
    order = City('train', SIZE, length=40, frames_per_clip=2).order(np.random.default_rng(3))
    rng = np.random.default_rng(3)
    expected = np.concatenate(
        [rng.permutation(np.arange(start, min(start + 16, 40))) for start in (0, 16, 32)]
    )
    np.testing.assert_array_equal(order, expected)


@pytest.mark.parametrize(
    ('split', 'options', 'message'),
    [
        ('train', {'clip_length': 2}, 'length in multiples of clip_length, got 2, 20, 1'),
        ('train', {'max_frame_gap': 0}, 'max_frame_gap of at least 1'),
        ('all', {}, "splits train, val, test, got 'all'"),
        (
            'train',
            {'in_a_row': 2},
            "data 'synthetic': the option 'in_a_row' is called 'clip_length' now",
        ),
        ('val', {'length': 1001}, 'has 1000 seeds, too few for 1001 samples, 1 of each'),
        ('test', {'length': 2001, 'frames_per_clip': 2}, 'too few for 2001 samples'),
        (
            'train',
            {'lenght': 3},
            "no option 'lenght'; did you mean length.; the options are: size, length, frames",
        ),
    ],
)
def test_errors_name_the_bad_option(split, options, message):
    with pytest.raises(ValueError, match=message):
        open_reader('synthetic', split, **options)


def test_training_may_be_longer_than_its_streets():
    assert len(open_reader('synthetic', 'train', length=2_000_000)) == 2_000_000


@pytest.mark.parametrize(
    ('name', 'error', 'message'),
    [
        (
            'kitti',
            ValueError,
            "unknown data 'kitti'; did you mean kitti_step.; expected one of: synthetic, folder",
        ),
        ('camvid', ValueError, "data 'camvid' is named camvid:<folder>, got 'camvid'"),
        (
            'synthetic:here',
            ValueError,
            "data 'synthetic' is named synthetic, got 'synthetic:here'",
        ),
        ('camvid:nowhere', FileNotFoundError, "no folder of data 'camvid' at nowhere"),
    ],
)
def test_errors_name_the_unknown_data(name, error, message):
    with pytest.raises(error, match=message):
        open_reader(name, 'val')


def test_the_time_of_day_changes_the_light_alone():
    day, night = (
        City('val', SIZE, length=4, time_of_day=time_of_day) for time_of_day in ('day', 'night')
    )
    for index in range(4):
        light, dark = day.read(index, 0), night.read(index, 0)
        assert np.array_equal(light.class_map, dark.class_map)
        assert np.array_equal(light.instance_map, dark.instance_map)
        assert dark.image.mean() < 0.5 * light.image.mean()


def test_there_is_no_dusk_by_day():
    rng = np.random.default_rng(0)
    lights = [make_light(rng, dusk=False) for _ in range(300)]
    # At dusk lamps are lit without clouds, rain or fog that would hide the sun.
    assert not any(light.lamps and light.sun.any() for light in lights)
    assert any(light.lamps and light.sun.any() for light in (make_light(rng) for _ in range(300)))


def test_an_unknown_time_of_day_is_refused():
    with pytest.raises(ValueError, match='time_of_day of any, day, night, got '):
        City('val', SIZE, length=1, time_of_day='noon')
