# SPDX-License-Identifier: Apache-2.0
"""Checkpoints like those of `panoptic train`, without a training."""

import torch

from panoptic_ros.models.registry import build
from panoptic_training.data.synthetic import LABELS


def write_checkpoint(path, family, network, input_size=(128, 256), labels=LABELS):
    """Write the checkpoint of an untrained model, by default for the city; return its path."""
    torch.manual_seed(0)
    state = build(family, labels, **network).state_dict()
    torch.save(
        {
            'state_dict': {f'model.{name}': value for name, value in state.items()},
            'hyper_parameters': {
                'family': family,
                'labels': labels.to_dicts(),
                'network': network,
                'input_size': list(input_size),
                'recipe_hash': '',
            },
        },
        path,
    )
    return path
