# SPDX-License-Identifier: Apache-2.0
"""The registry's small networks: modules, and configurations with some values set back."""

import numpy as np
import torch
from graphs import random_image
from tiny_model import LABELS

from panoptic_ros.models.registry import FAMILIES, build


def small(family, *defaults):
    """Return the small configuration of a family without the keys in `defaults`."""
    return {key: value for key, value in FAMILIES[family].small.items() if key not in defaults}


SMALL_CENTERS = small('panoptic_deeplab', 'top_k', 'stride', 'center_threshold')
SMALL_CIAE = small(
    'ciae',
    'stride',
    'pre_nms_top_k',
    'score_threshold',
    'class_threshold',
    'nms_threshold',
    'min_stuff_area',
)
SMALL_FPN = small('panoptic_fpn', 'score_threshold', 'min_stuff_area')
SMALL_SOGNET = small('sognet', 'score_threshold', 'min_stuff_area')


def untrained(family, size, **config):
    """Return an evaluating module that finds instances in random images of `size` (h, w)."""
    torch.manual_seed(1)
    model = build(family, LABELS, **config).train()
    images = np.stack([random_image(size, i) for i in range(4)])
    with torch.no_grad():  # larger weights make the outputs vary, as after training
        for head in model.heads or ('predict.classes',):
            model.get_parameter(f'{head}.weight').normal_(0, 0.1 if model.heads else 1)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.maps(torch.from_numpy(images).permute(0, 3, 1, 2))
    return model.eval()
