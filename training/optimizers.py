"""Optimisers by name, with the parameter groups that the families' papers use."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

OPTIMIZERS = ('adamw', 'adam', 'sgd')


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimiser; its learning rate is the module's `lr`."""

    name: str = 'adamw'
    """`adamw`, `adam` or `sgd`."""

    weight_decay: float = 1e-4
    """On weights of two and more dimensions; norms, biases and unit class means do not decay."""

    momentum: float = 0.9
    """Of `sgd`."""

    nesterov: bool = False
    """Nesterov's momentum, of `sgd`."""

    bias_lr_factor: float = 1.0
    """Learning rate of biases relative to `lr`; 2 in Caffe's Mask R-CNN and its followers."""

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ValueError(f'optimizer.name must be one of {", ".join(OPTIMIZERS)}, '
                             f'got {self.name!r}')
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.momentum < 1 \
                or not 0 < self.bias_lr_factor < math.inf:
            raise ValueError('optimizer needs weight_decay of at least 0, momentum in 0 to below '
                             f'1 and bias_lr_factor above 0, got {self.weight_decay}, '
                             f'{self.momentum} and {self.bias_lr_factor}')


def make_optimizer(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig,
                   lr: float) -> torch.optim.Optimizer:
    """An optimiser whose groups carry `lr_factor`, what their rate is relative to the schedule's.

    Args:
        parameters: by name; those without gradient are left out.
        config: which optimiser.
        lr: peak learning rate.
    """
    decayed: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        if name.endswith('.bias'):
            biases.append(parameter)
        elif parameter.ndim > 1 and not name.endswith('semantic_mean'):
            decayed.append(parameter)
        else:
            vectors.append(parameter)
    groups = [{'params': params, 'weight_decay': decay, 'lr_factor': factor}
              for params, decay, factor in (
                  (decayed, config.weight_decay, 1.0), (vectors, 0.0, 1.0),
                  (biases, 0.0, config.bias_lr_factor)) if params]
    if config.name == 'sgd':
        options: dict[str, Any] = {'momentum': config.momentum, 'nesterov': config.nesterov}
        return torch.optim.SGD(groups, lr=lr, **options)
    kind = torch.optim.AdamW if config.name == 'adamw' else torch.optim.Adam
    return kind(groups, lr=lr)
