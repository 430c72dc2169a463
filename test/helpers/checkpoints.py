# SPDX-License-Identifier: Apache-2.0
"""Checkpoints like those of `panoptic train`, without a training."""

import torch

from panoptic_ros.models.registry import build
from panoptic_training.data.synthetic import LABELS


def write_checkpoint(path, family, network, input_size=(128, 256)):
    """Write the checkpoint of an untrained model for the synthetic city; return its path."""
    torch.manual_seed(0)
    state = build(family, LABELS, **network).state_dict()
    torch.save(
        {
            'state_dict': {f'model.{name}': value for name, value in state.items()},
            'hyper_parameters': {
                'family': family,
                'labels': LABELS.to_dicts(),
                'network': network,
                'input_size': list(input_size),
                'recipe_hash': '',
            },
        },
        path,
    )
    return path
