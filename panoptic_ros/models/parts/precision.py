# SPDX-License-Identifier: Apache-2.0
"""What must not be computed in half precision."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32; anything wider as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def full_precision(like: Tensor) -> contextlib.AbstractContextManager[object]:
    """Sums over all pixels are beyond half precision. An export sees no context at all."""
    if torch.is_autocast_enabled(like.device.type):
        return torch.autocast(like.device.type, enabled=False)
    return contextlib.nullcontext()
