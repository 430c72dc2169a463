# SPDX-License-Identifier: Apache-2.0
"""Small modules of Panoptic-DeepLab and the families built on it, for the tests."""

import numpy as np
import torch
from graphs import random_image
from small_models import SMALL_CENTERS
from tiny_model import LABELS

from panoptic_ros.models.registry import build

SIZE = (64, 128)


def lively(family, spread=0.1, **config):
    """Return a module in eval mode whose random weights find instances in random images.

    Batch statistics are those of such images, and the heads' outputs vary.
    """
    torch.manual_seed(0)
    model = build(family, LABELS, **{**SMALL_CENTERS, 'top_k': 12, 'min_stuff_area': 0, **config})
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith('.out.weight'):
                value.normal_(0, spread)
        for module in model.train().modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.maps(
            torch.from_numpy(np.stack([random_image(SIZE, i) for i in range(4)])).permute(
                0, 3, 1, 2
            )
        )
    return model.eval()
