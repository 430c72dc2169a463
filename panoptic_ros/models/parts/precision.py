# SPDX-License-Identifier: Apache-2.0
"""Guards for computations that half precision is too coarse for."""

import contextlib

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; return wider types unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def full_precision(like: Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context without autocast, for sums over all pixels.

    Outside autocast it is a null context, so that exported graphs do not record it.
    """
    if torch.is_autocast_enabled(like.device.type):
        return torch.autocast(like.device.type, enabled=False)
    return contextlib.nullcontext()
