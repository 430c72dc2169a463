# SPDX-License-Identifier: Apache-2.0
"""Heads and number plates, on an image of noise."""

import numpy as np
import pytest

from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.mining.blur import BLOCKS, blurred, describe_blur

LABELS = LabelSet(
    tuple(
        Label(name, name != 'road', (i, i, i), i)
        for i, name in enumerate(('road', 'Person', 'car'))
    )
)
ROAD, PERSON, CAR = range(3)


@pytest.fixture
def scene():
    """A person, a car, and the image."""
    ids = np.ones((120, 200), np.int32)
    ids[20:100, 30:60] = 2
    ids[50:90, 100:180] = 3
    image = np.random.default_rng(0).integers(0, 256, (*ids.shape, 3), np.uint8)
    return image, make_frame(ids, {1: ROAD, 2: PERSON, 3: CAR}, LABELS)


def test_heads_and_plates_change_and_the_rest_does_not(scene):
    image, frame = scene
    before = image.copy()
    out = blurred(image, frame, LABELS)
    assert (image == before).all()
    changed = (out != image).any(axis=2)
    assert changed[20:44, 30:60].mean() > 0.99  # upper 30 % of the person
    assert changed[66:90, 100:180].mean() > 0.99  # lower 60 % of the car
    border_px = 5  # a tenth of the width, and one
    kept = np.ones(changed.shape, bool)
    kept[20 - border_px : 44, 30 - border_px : 60 + border_px] = False
    kept[66 : 90 + 9, 100 - 9 : 180 + 9] = False
    assert not changed[kept].any()


def test_few_colours_remain(scene):
    image, frame = scene
    out = blurred(image, frame, LABELS)
    plate = out[66:90, 100:180].reshape(-1, 3)
    assert len(np.unique(plate, axis=0)) <= BLOCKS * 4 * BLOCKS


def test_people_at_the_edges(scene):
    image, _ = scene
    ids = np.zeros(image.shape[:2], np.int32)
    ids[:10, :5], ids[-3:, -3:] = 1, 2
    out = blurred(image, make_frame(ids, {1: PERSON, 2: CAR}, LABELS), LABELS)
    assert (out[:3, :5] != image[:3, :5]).any() and (out[-2:, -2:] != image[-2:, -2:]).any()


def test_it_says_what_it_blurs():
    assert 'heads of Person; number plates of car' in describe_blur(LABELS)
    indoor = LabelSet(LABELS.labels[:2])
    assert 'number plates of nothing' in describe_blur(indoor)
    with pytest.raises(ValueError, match='--blur needs a class of people or vehicles'):
        describe_blur(LabelSet(LABELS.labels[:1]))
