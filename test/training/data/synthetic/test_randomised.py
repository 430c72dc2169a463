# SPDX-License-Identifier: Apache-2.0
"""The randomised city: labels are right for any appearance of the image."""

import numpy as np
import pytest

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.synthetic import LABELS, SyntheticClip
from panoptic_training.data.synthetic.dataset import City
from panoptic_training.data.synthetic.labels import VEGETATION

SIZE = (96, 192)
SEEDS = range(8)


@pytest.fixture(scope='module')
def frames():
    return [SyntheticClip(seed, SIZE, randomised=True).frame(5) for seed in SEEDS]


def test_a_frame_depends_only_on_seed_and_number(frames):
    again = SyntheticClip(SEEDS[3], SIZE, randomised=True)
    again.frame(0)
    for name in ('image', 'class_map', 'track_map'):
        np.testing.assert_array_equal(getattr(again.frame(5), name), getattr(frames[3], name))


def test_labels_are_classes_or_void_and_tracks_lie_on_things(frames):
    for frame in frames:
        known = frame.class_map < len(LABELS)
        assert (known | (frame.class_map == VOID_ID)).all()
        assert known.mean() > 0.6
        things = np.append(LABELS.is_thing, np.zeros(256 - len(LABELS), bool))[frame.class_map]
        assert ((frame.track_map > 0) == things).all()


def test_all_classes_and_void_occur(frames):
    occurring = set(np.unique([frame.class_map for frame in frames]).tolist())
    assert occurring == {*range(len(LABELS)), VOID_ID}


def test_streets_differ_more_than_plain_ones():
    def spread(randomised):
        clips = [SyntheticClip(seed, (64, 128), randomised=randomised) for seed in range(24)]
        return np.std([clip.frame(5).image.mean(axis=(0, 1)) for clip in clips], axis=0).mean()

    assert spread(True) > 1.2 * spread(False)


def test_the_label_of_a_bare_tree_includes_its_gaps():
    """Pixels with a tree's label are as bright as the sky in gaps, and dark on branches."""
    contrast = []
    for seed in range(20):
        frame = SyntheticClip(seed, SIZE, randomised=True).frame(0)
        tree = frame.image[frame.class_map == VEGETATION].mean(axis=-1)
        if len(tree) > 400:
            contrast.append(tree.std() / tree.mean())
    assert max(contrast) > 0.5


def test_a_share_of_the_streets_is_randomised():
    def images(share):
        city = City('train', SIZE, length=16, randomised=share)
        return [city.read(index, 1).image for index in range(len(city))]

    none, some, every = images(0.0), images(0.5), images(1.0)
    plain = [np.array_equal(a, b) for a, b in zip(none, some, strict=True)]
    drawn = [np.array_equal(a, b) for a, b in zip(every, some, strict=True)]
    assert all(a != b for a, b in zip(plain, drawn, strict=True))
    assert 3 <= sum(plain) <= 13
