# SPDX-License-Identifier: Apache-2.0
"""Statistics over the batches of all processes of a distributed training."""

import torch
from torch import Tensor


def sum_over_processes(*values: Tensor) -> None:
    """Replace tensors by their sums over all processes, in place; with one process do nothing."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for value in values:
            torch.distributed.all_reduce(value)


def shared_count(weight: Tensor) -> Tensor:
    """Return the divisor of a mean over the pixels of all processes, as float32.

    Gradients are averaged over the processes. So a sum over this process's pixels has to be
    divided by the mean of their number over the processes; else pixels of a process that has few
    would count more.

    Args:
        weight: of each pixel of this process, or which of them count; any shape.

    Returns:
        Scalar without gradient, at least 1; with one process the sum of the weights.
    """
    return mean_over_processes(weight.detach().sum().float()).clamp(min=1)


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradient; with one, the tensor."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
