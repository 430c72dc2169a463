# SPDX-License-Identifier: Apache-2.0
"""Associative embedding loss with hinges, the baseline of HLE, section 3.2 (equations 1 and 2)."""

import torch
from torch import Tensor

from .checks import check_dims


def group_mean(embedding: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the mean embedding of each group.

    Args:
        embedding: (P, D).
        group: group of each row, 0 to groups - 1, (P,) integer.
        groups: number of groups L.

    Returns:
        (L, D), 0 for a group without members.
    """
    total = embedding.new_zeros(groups, embedding.shape[1]).index_add(0, group, embedding)
    return total / torch.bincount(group, minlength=groups).clamp(min=1)[:, None]


def pull_loss(embedding: Tensor, group: Tensor, mean: Tensor, margin: float) -> Tensor:
    """Compute the loss that pulls every embedding towards the mean of its group, equation 1.

    The cost of an embedding e of group l is max(|mean_l - e|_1 - margin, 0)^2.

    Args:
        embedding: (P, D).
        group: row of `mean` that each embedding belongs to, (P,) integer.
        mean: (L, D).
        margin: L1 distance up to which the cost is 0.

    Returns:
        Scalar: mean cost of the members of a group, averaged over the groups that have members; 0
        without any.
    """
    check_dims('pull_loss', 'embedding (P, D), group (P,) and mean (L, D)', embedding, group, mean)
    cost = (mean[group] - embedding).abs().sum(dim=1).sub(margin).relu().square()
    members = torch.bincount(group, minlength=len(mean))
    each = cost.new_zeros(len(mean)).index_add(0, group, cost) / members.clamp(min=1)
    return each.sum() / (members > 0).sum().clamp(min=1)


def push_loss(mean: Tensor, margin: float) -> Tensor:
    """Compute the loss that pushes the means of different groups apart, equation 2.

    The cost of a pair of groups k and l is max(margin - |mean_k - mean_l|_1, 0)^2.

    Args:
        mean: (L, D).
        margin: L1 distance from which on the cost is 0.

    Returns:
        Scalar: mean over the pairs; 0 for fewer than two groups.
    """
    check_dims('push_loss', 'mean (L, D)', mean)
    first, second = torch.triu_indices(len(mean), len(mean), 1, device=mean.device)
    cost = (margin - (mean[first] - mean[second]).abs().sum(dim=1)).relu().square()
    return cost.sum() / max(len(cost), 1)
