# SPDX-License-Identifier: Apache-2.0
"""Hidden maps: drawn by the city, and passed through augmentation into batches."""

from itertools import combinations

import numpy as np
import pytest
import torch

from panoptic_training.data.augment import Augment, AugmentConfig
from panoptic_training.data.sample import HIDDEN_LAYERS, Sample, collate, pack
from panoptic_training.data.synthetic import SyntheticClip
from panoptic_training.data.synthetic.dataset import City

SIZE = (96, 192)


@pytest.fixture(scope='module')
def frames():
    return [
        (frame, clip.hidden_map(frame.frame_index))
        for seed in range(5)
        for clip in [SyntheticClip(seed, SIZE)]
        for frame in (clip.frame(10), clip.frame(150))
    ]


def test_things_go_on_under_others(frames):
    found = 0
    for frame, hidden in frames:
        assert hidden.shape == (HIDDEN_LAYERS, *SIZE) and hidden.dtype == np.int32
        assert not hidden[:, frame.track_map == 0].any(), 'only things hide things'
        layers = np.stack([frame.track_map, *hidden])
        for upper, lower in combinations(layers, 2):
            assert not ((upper == lower) & (lower > 0)).any(), 'a thing is in a pixel once'
            assert not lower[upper == 0].any(), 'no layer is left out'
        for track in np.unique(hidden)[1:]:
            if not (frame.track_map == track).any():
                continue
            found += 1
            under = (hidden == track).any(axis=0)
            # What is nearer hides what is farther.
            seen = frame.depth[frame.track_map == track]
            assert np.median(frame.depth[under]) < np.median(seen) + 2
    assert found > 5, 'a city in which nothing is hidden teaches nothing'
    assert any(hidden[1].any() for _, hidden in frames), 'three things overlap somewhere'


def test_a_frame_is_the_same_whether_or_not_one_asks(frames):
    clip = SyntheticClip(0, SIZE)
    hidden = clip.hidden_map(10)
    np.testing.assert_array_equal(hidden, frames[0][1])
    np.testing.assert_array_equal(clip.frame(10).image, frames[0][0].image)


def test_the_city_says_what_is_hidden_if_asked():
    plain, asked = (
        City('val', SIZE, length=3, hidden=hidden).read(1, 0) for hidden in (False, True)
    )
    assert plain.hidden_map is None and asked.hidden_map.shape == (HIDDEN_LAYERS, *SIZE)
    np.testing.assert_array_equal(plain.image, asked.image)
    np.testing.assert_array_equal(plain.instance_map, asked.instance_map)


def test_hidden_maps_move_with_the_image_and_are_none_in_the_margin():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 300, SIZE).astype(np.int32)
    layers = ids + np.arange(1, 1 + HIDDEN_LAYERS, dtype=np.int32)[:, None, None]
    sample = Sample(
        rng.integers(0, 256, (*SIZE, 3), np.uint8), np.full(SIZE, 3, np.uint8), ids, layers
    )
    augment = Augment(AugmentConfig(flip=1.0, scale=(0.5, 0.8), color=0.0), SIZE, SIZE)
    batch = collate([augment(sample, seed) for seed in range(3)])
    void = batch.class_map == 255
    assert void.any() and not batch.instance_map[void].any()
    for i, layer in enumerate(batch.hidden_map.unbind(1), start=1):
        assert not layer[void].any()
        assert torch.equal(layer[~void], batch.instance_map[~void] + i)
    half = batch.at_stride(2)
    assert torch.equal(half.hidden_map, batch.hidden_map[..., 1::2, 1::2])
    image = torch.from_numpy(sample.image).permute(2, 0, 1)
    alone = collate([(image, pack(sample))])
    assert torch.equal(alone.hidden_map[0], torch.from_numpy(layers).long())
    assert torch.equal(alone.instance_map[0], torch.from_numpy(ids).long())


def test_a_hidden_map_of_another_size_is_refused():
    reason = r'hidden_map \(3, 4, 5\) over its class_map, got \(4, 5\)'
    with pytest.raises(ValueError, match=reason):
        Sample(
            np.zeros((4, 5, 3), np.uint8),
            np.zeros((4, 5), np.uint8),
            np.zeros((4, 5), np.int32),
            np.zeros((4, 5), np.int32),
        )
