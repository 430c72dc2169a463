# SPDX-License-Identifier: Apache-2.0
"""A batch of two small images, and the check that all parameters receive gradients."""

import numpy as np
import torch
from center_models import SIZE
from graphs import random_image

from panoptic_training.data.sample import Batch


def batch():
    """Make two images, with two things on the first and one on the second."""
    images = torch.from_numpy(np.stack([random_image(SIZE, i) for i in range(2)]))
    class_map = torch.zeros(2, *SIZE, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[:, 40:] = 1
    for image, rows, columns, class_id, number in (
        (0, slice(8, 40), slice(8, 40), 2, 1),
        (0, slice(20, 60), slice(80, 100), 3, 2),
        (1, slice(0, 24), slice(100, 128), 2, 1),
    ):
        class_map[image, rows, columns] = class_id
        instance_map[image, rows, columns] = number
    return Batch(images.permute(0, 3, 1, 2), class_map, instance_map)


def assert_all_learn(model):
    """Check that every parameter has a finite gradient, which DDP needs."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
