# SPDX-License-Identifier: Apache-2.0
"""Statistics over the batches of all processes of a distributed training."""

import torch
from torch import Tensor


def sum_over_processes(*values: Tensor) -> None:
    """Replace tensors by their sums over all processes, in place; with one process do nothing."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for value in values:
            torch.distributed.all_reduce(value)


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradient; with one, the tensor."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
