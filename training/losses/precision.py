"""Losses compute in float32 at least, whatever precision the network ran in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32; anything wider as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
