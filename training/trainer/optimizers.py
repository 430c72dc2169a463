# SPDX-License-Identifier: Apache-2.0
"""Optimisers by name, with the parameter groups of the families' papers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

OPTIMIZERS = ('adamw', 'adam', 'sgd')


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of the optimiser; its learning rate is the module's `lr`."""

    name: str = 'adamw'
    """`adamw`, `adam` or `sgd`."""

    weight_decay: float = 1e-4
    """Decay of weights of two or more dimensions; norms, biases and unit class means have none."""

    momentum: float = 0.9
    """Momentum of `sgd`."""

    nesterov: bool = False
    """Whether `sgd` uses Nesterov's momentum."""

    backbone_lr_factor: float = 1.0
    """Learning rate of the pretrained backbone relative to `lr`."""

    bias_lr_factor: float = 1.0
    """Learning rate of biases relative to `lr`; 2 in Caffe's Mask R-CNN and its followers."""

    class_mean_lr_factor: float = 1.0
    """Learning rate of HLE's class means relative to `lr`. A step of Adam moves a mean by at most
    about its learning rate, so that in a short training the means lag behind the embeddings. Means
    that follow faster may meet where classes cannot be told apart yet (docs/ablations.md)."""

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ValueError(
                f'optimizer.name must be one of {", ".join(OPTIMIZERS)}, got {self.name!r}'
            )
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.momentum < 1:
            raise ValueError(
                'optimizer needs weight_decay of at least 0 and momentum in 0 to below 1, got '
                f'{self.weight_decay} and {self.momentum}'
            )
        for name in ('backbone_lr_factor', 'bias_lr_factor', 'class_mean_lr_factor'):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f'optimizer.{name} must be a number above 0, got {getattr(self, name)}'
                )


def make_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig, lr: float
) -> torch.optim.Optimizer:
    """Return an optimiser whose groups have `lr_factor`, their rate relative to the schedule's.

    Args:
        parameters: by name; those without gradient are left out.
        config: settings of the optimiser.
        lr: peak learning rate.
    """
    kinds = {
        'decayed': (config.weight_decay, 1.0),
        'vectors': (0.0, 1.0),
        'biases': (0.0, config.bias_lr_factor),
        'class means': (0.0, config.class_mean_lr_factor),
    }
    split_backbone = config.backbone_lr_factor != 1
    parts: dict[tuple[bool, str], list[nn.Parameter]] = {
        (is_backbone, kind): [] for is_backbone in (False, True) for kind in kinds
    }
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        kind = 'vectors'
        if name.endswith('.bias'):
            kind = 'biases'
        elif name.endswith('semantic_mean'):
            # One group less where nothing differs, so that earlier trainings resume.
            kind = 'vectors' if config.class_mean_lr_factor == 1 else 'class means'
        elif parameter.ndim > 1:
            kind = 'decayed'
        parts[split_backbone and '.backbone.' in name, kind].append(parameter)
    groups = [
        {
            'params': params,
            'weight_decay': kinds[kind][0],
            'lr_factor': kinds[kind][1] * (config.backbone_lr_factor if is_backbone else 1),
        }
        for (is_backbone, kind), params in parts.items()
        if params
    ]
    if config.name == 'sgd':
        options: dict[str, Any] = {'momentum': config.momentum, 'nesterov': config.nesterov}
        return torch.optim.SGD(groups, lr=lr, **options)
    adam = torch.optim.AdamW if config.name == 'adamw' else torch.optim.Adam
    return adam(groups, lr=lr)
