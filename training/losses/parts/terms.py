# SPDX-License-Identifier: Apache-2.0
"""Terms of losses that several families share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID


def mean_cross_entropy(logits: Tensor, class_map: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, C, h, w) over the pixels not void, 0 without any."""
    total = F.cross_entropy(logits, class_map, ignore_index=VOID_ID, reduction='sum')
    return total / (class_map != VOID_ID).sum().clamp(min=1)


def with_sum(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms and their sum, `loss`."""
    return {**terms, 'loss': torch.stack(list(terms.values())).sum()}


def with_initial(
    final: dict[str, Tensor], initial: dict[str, Tensor], gamma: float
) -> dict[str, Tensor]:
    """The final heads' terms and, with weight gamma, those of the initial heads."""
    return final | {f'initial_{name}': gamma * value for name, value in initial.items()}
