# SPDX-License-Identifier: Apache-2.0
"""Statistics of a batch that several processes share."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_over_processes(*values: Tensor) -> None:
    """Replaces tensors by their sum over all processes, in place; does nothing with one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for value in values:
            torch.distributed.all_reduce(value)


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a tensor without gradient over all processes; itself with one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
