# SPDX-License-Identifier: Apache-2.0
"""Random crops: image and labels stay aligned, padding is void, the seed determines the crop."""

import numpy as np
import pytest
import torch

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.augment import FILL, Augment, AugmentConfig
from panoptic_training.data.sample import Batch, Sample, collate, pack, unpack

SIZE = (24, 40)
STILL = AugmentConfig(flip=0, scale=(1, 1), color=0)


def numbered():
    """A sample whose colours and instance ids both encode each pixel's position."""
    place = np.arange(SIZE[0] * SIZE[1], dtype=np.int32).reshape(SIZE)
    image = np.stack([place % 256, place // 256, np.full(SIZE, 7)], axis=2).astype(np.uint8)
    return Sample(image, np.full(SIZE, 3, np.uint8), place + 1)


def augmented(config, crop=SIZE, seed=0, sample=None, size=SIZE):
    image, packed = Augment(config, size, crop)(sample or numbered(), seed)
    assert image.shape == (3, *crop) and image.dtype == torch.uint8
    assert type(image) is torch.Tensor and type(packed) is torch.Tensor
    return image, *(labels[0] for labels in unpack(packed))


def test_packing_is_exact():
    rng = np.random.default_rng(0)
    sample = Sample(
        np.zeros((5, 6, 3), np.uint8),
        rng.integers(0, 256, (5, 6), np.uint8),
        rng.integers(0, 2**20, (5, 6)).astype(np.int32),
    )
    (class_map,), (instance_map,) = unpack(pack(sample))
    np.testing.assert_array_equal(class_map, sample.class_map)
    np.testing.assert_array_equal(instance_map, sample.instance_map)
    assert class_map.dtype == instance_map.dtype == torch.int64


def test_zero_strength_changes_nothing():
    image, class_map, instance_map = augmented(STILL)
    np.testing.assert_array_equal(image.permute(1, 2, 0), numbered().image)
    np.testing.assert_array_equal(instance_map, numbered().instance_map)
    assert (class_map == 3).all()


@pytest.mark.parametrize(('flip', 'seed'), [(0.0, 1), (1.0, 2), (0.5, 3), (0.5, 4)])
def test_each_pixel_keeps_its_label_through_crop_and_flip(flip, seed):
    image, class_map, instance_map = augmented(
        AugmentConfig(flip, (1, 1), color=0), (16, 20), seed
    )
    assert (class_map == 3).all()
    place = (instance_map - 1).numpy()
    np.testing.assert_array_equal(
        image.permute(1, 2, 0).numpy(), numbered().image.reshape(-1, 3)[place]
    )
    steps = np.diff(place, axis=1)
    assert set(steps.ravel()) <= ({-1} if flip == 1 else {1} if flip == 0 else {1, -1})
    assert (np.diff(place, axis=0) == SIZE[1]).all()


def test_beyond_the_image_is_mean_colour_and_void():
    image, class_map, instance_map = augmented(STILL, (32, 48))
    void = class_map == VOID_ID
    assert void.sum() == 32 * 48 - 24 * 40
    assert (image.permute(1, 2, 0)[void] == torch.tensor(FILL)).all()
    assert (instance_map[void] == 0).all()
    assert len(instance_map[~void].unique()) == 24 * 40


@pytest.mark.parametrize('scale', [0.5, 1.5])
def test_zoom_moves_image_and_labels_alike(scale):
    is_in = np.zeros((40, 64), bool)
    is_in[10:26, 20:44] = True
    sample = Sample(
        np.where(is_in[..., None], 255, 0).astype(np.uint8) * np.ones(3, np.uint8),
        is_in.astype(np.uint8),
        is_in.astype(np.int32),
    )
    for seed in range(4):
        image, class_map, instance_map = augmented(
            AugmentConfig(0, (scale, scale), color=0), (32, 48), seed, sample, (40, 64)
        )
        known = class_map != VOID_ID
        differs = ((image[0] > 127) != (class_map == 1)) & known
        assert differs.sum() == 0, "the half-way line of the blurred edge is the label's edge"
        assert torch.equal(instance_map == 1, class_map == 1)
    area = (class_map == 1).sum().item()
    assert area == 16 * 24 * scale**2 if scale < 1 else area > 16 * 24


def test_images_are_first_fitted_into_the_input():
    _, class_map, instance_map = augmented(STILL, size=(12, 40), crop=SIZE)
    assert (class_map != VOID_ID).sum() == 12 * 20  # half the size, the ratio kept
    assert len(instance_map.unique()) == 12 * 20 + 1


def test_colours_change_without_the_labels():
    still = augmented(STILL)
    image, class_map, instance_map = augmented(AugmentConfig(0, (1, 1), color=0.5))
    assert not torch.equal(image, still[0])
    assert torch.equal(class_map, still[1]) and torch.equal(instance_map, still[2])


def test_the_seed_fixes_the_crop_and_nothing_else():
    before = torch.get_rng_state()
    crops = [augmented(AugmentConfig(), (16, 24), seed) for seed in (5, 6, 5)]
    assert all(torch.equal(a, b) for a, b in zip(crops[0], crops[2], strict=True))
    assert not torch.equal(crops[0][0], crops[1][0])
    assert torch.equal(torch.get_rng_state(), before)


def test_crops_around_things_hold_one_and_keep_each_pixels_label():
    rng = np.random.default_rng(0)
    sample = numbered()
    ids = np.zeros(SIZE, np.int32)
    ids[2, 3], ids[10:20, 20:38], ids[23, 39] = 1, 2, 3  # two of one pixel, one large
    sample = Sample(sample.image, np.where(ids > 0, 4, 3).astype(np.uint8), ids)
    place = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)
    met = np.zeros(4, int)
    corners = set()
    for seed in rng.integers(0, 2**31, 200).tolist():
        image, class_map, instance_map = augmented(
            AugmentConfig(0, (1, 1), 1.0, 0), (8, 10), seed, sample
        )
        at = (image[0].long() + 256 * image[1].long()).numpy()
        np.testing.assert_array_equal(instance_map, ids.ravel()[at])
        np.testing.assert_array_equal(class_map, sample.class_map.ravel()[at])
        assert (np.diff(at, axis=1) == 1).all() and (np.diff(at, axis=0) == SIZE[1]).all()
        assert (instance_map > 0).any()
        corners.add(int(at[0, 0]))
        for i in (1, 2, 3):
            met[i] += bool((instance_map == i).any())
    assert (met[1:] > 40).all(), 'instances are drawn alike, whatever their area'
    assert len(corners) > 60 and corners <= set(place[:17, :31].ravel().tolist())


@pytest.mark.parametrize('crop', [(8, 60), (40, 10), (40, 60)])
def test_crops_around_things_may_be_larger_than_the_image(crop):
    _, class_map, instance_map = augmented(AugmentConfig(0, (1, 1), 1.0, 0), crop)
    seen = class_map != VOID_ID
    assert seen.sum() == min(crop[0], SIZE[0]) * min(crop[1], SIZE[1])
    assert len(instance_map.unique()) == seen.sum() + (not seen.all())


def test_without_things_or_wish_crops_are_as_ever():
    still = augmented(AugmentConfig(), (16, 24), 5)
    bare = Sample(numbered().image, np.full(SIZE, 3, np.uint8), np.zeros(SIZE, np.int32))
    assert torch.equal(still[0], augmented(AugmentConfig(things=0.0), (16, 24), 5)[0])
    assert augmented(AugmentConfig(things=1.0), (16, 24), 5, bare)[0].shape == (3, 16, 24)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'things': 1.5}, r'augment\.things'),
        ({'flip': 1.1}, r'augment\.flip'),
        ({'color': 1.0}, r'augment\.color'),
        ({'scale': (2.0, 1.0)}, r'augment\.scale must be two rising'),
        ({'scale': (0.0, 1.0)}, 'above 0'),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**values)


def test_a_sample_needs_maps_of_one_size():
    with pytest.raises(ValueError, match=r'\(4, 5, 3\), \(4, 6\), \(4, 5\)'):
        Sample(
            np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.int32)
        )


@pytest.mark.parametrize(
    ('stride', 'rows'), [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (2, [1, 3, 5, 7]), (4, [2, 6])]
)
def test_cells_take_the_label_at_their_centre(stride, rows):
    place = torch.arange(64).view(1, 8, 8)
    batch = Batch(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), place, place + 100)
    small = batch.at_stride(stride)
    expected = [[8 * y + x for x in rows] for y in rows]
    assert small.class_map[0].tolist() == expected
    assert torch.equal(small.instance_map, small.class_map + 100)
    assert small.image is batch.image


def test_a_batch_stacks_images_and_labels():
    items = [Augment(STILL, SIZE, SIZE)(numbered(), seed) for seed in range(3)]
    batch = collate(items)
    assert batch.image.shape == (3, 3, *SIZE)
    assert batch.class_map.shape == batch.instance_map.shape == (3, *SIZE)
