# SPDX-License-Identifier: Apache-2.0
"""Small models and the views that their figures are drawn from."""

import numpy as np
from graphs import random_image
from small_models import untrained

from panoptic_ros.models.registry import FAMILIES
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.data.sample import HIDDEN_LAYERS, Sample
from panoptic_training.figures.figure import view_of
from panoptic_training.module_backend import ModuleBackend, model_info

INPUT = (64, 128)
"""(height, width) of the network's input, px."""

IMAGE = (96, 176)
"""(height, width) of the image, whose content in the input is 64 x 117 px."""


def small_model(family, **config):
    """Return a small module in eval mode that finds instances in random images."""
    return untrained(family, INPUT, **{**FAMILIES[family].small, **config})


def sample(seed=5, size=IMAGE):
    """Return a random image: floor, wall, a ball (1) in front of a box (2), a ball (3) apart."""
    height, width = size
    class_map, instance_map = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    class_map[: height // 2] = 1
    for i, class_id, y, x in (
        (2, 3, slice(20, 60), slice(40, 120)),
        (1, 2, slice(30, 80), slice(20, 60)),
        (3, 2, slice(2, 18), slice(140, 170)),
    ):
        class_map[y, x], instance_map[y, x] = class_id, i
    hidden_map = np.zeros((HIDDEN_LAYERS, *size), np.int32)
    hidden_map[0, 30:60, 40:60] = 2
    image = random_image((-(-height // 16) * 16, -(-width // 16) * 16), seed)[:height, :width]
    return Sample(np.ascontiguousarray(image), class_map, instance_map, hidden_map)


def make_view(model, one=None, name='street'):
    """Return the view of a sample, by default `sample()`."""
    predictor = Predictor(ModuleBackend(model), model_info(model, INPUT))
    return view_of(predictor, sample() if one is None else one, name)


def shows(picture, panel):
    """Return whether a picture has this panel in one of its columns, pixel by pixel."""
    height, width = panel.shape[:2]
    return any(
        (picture[y : y + height, x : x + width] == panel).all()
        for x in range(0, picture.shape[1] - width + 1, width)
        for y in range(picture.shape[0] - height + 1)
    )
