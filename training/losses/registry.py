# SPDX-License-Identifier: Apache-2.0
"""Losses of the model families, found by name.

A loss is a function `batch_loss(model, batch, stride, config)` in the file of this folder that is
named like the family, or that the family's row in `panoptic_ros.models.registry` names. It returns
the weighted terms and their sum `loss`, all scalars. The annotation of `config` is the class of
its settings, the keys of a recipe's `model.loss`.
"""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any, get_type_hints

from torch import Tensor

from panoptic_ros.core.text import did_you_mean
from panoptic_ros.models.config import configure
from panoptic_ros.models.registry import FAMILIES


def build_loss(family: str, settings: Mapping[str, Any]) -> partial[dict[str, Tensor]]:
    """Return the loss of a family as a function of (model, batch, stride).

    Args:
        family: a key of FAMILIES, or an alias of one.
        settings: fields of the loss's configuration; the others keep their defaults.

    Returns:
        Function of the network, a batch with labels at full resolution, and the input pixels per
        cell of the maps that the loss compares with the labels.

    Raises:
        ValueError: if the family is unknown or has no loss, or a setting is unknown or invalid.

    Example:
        >>> loss = build_loss('hle', {'variance_weight': 5.0})
        >>> loss.keywords['config'].variance_weight
        5.0
    """
    losses = {
        alias: row.loss or name
        for name, row in FAMILIES.items()
        if row.loss is not None
        for alias in (name, *row.aliases)
    }
    if family not in losses:
        raise ValueError(
            f'no family {family!r} to train{did_you_mean(family, losses)}; the families are: '
            f'{", ".join(losses)}'
        )
    loss = losses[family]
    if isinstance(loss, str):
        loss = import_module(f'{__package__}.{loss}').batch_loss
    config_class = get_type_hints(loss)['config']
    return partial(loss, config=configure(config_class, settings, f'the loss of {family!r}'))
