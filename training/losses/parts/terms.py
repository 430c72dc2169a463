# SPDX-License-Identifier: Apache-2.0
"""Terms that several losses share, and how terms are put together."""

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID

from .processes import shared_count


def mean_cross_entropy(logits: Tensor, class_map: Tensor) -> Tensor:
    """Compute the mean cross-entropy over the pixels that are not void, of all processes.

    Args:
        logits: (B, C, h, w).
        class_map: class ids, VOID_ID for void, (B, h, w) int64.

    Returns:
        Scalar; 0 with zero gradient if all pixels are void.
    """
    total = F.cross_entropy(logits, class_map, ignore_index=VOID_ID, reduction='sum')
    return total / shared_count(class_map != VOID_ID)


def with_sum(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the terms and their sum `loss`."""
    return {**terms, 'loss': torch.stack(list(terms.values())).sum()}


def with_initial(
    final: dict[str, Tensor], initial: dict[str, Tensor], gamma: float
) -> dict[str, Tensor]:
    """Add the terms of PISR's initial heads to those of the final heads (PISR, equation 1).

    Args:
        final: terms of the final heads.
        initial: terms of the initial heads; the name of each gets the prefix `initial_`.
        gamma: weight of the initial terms.
    """
    return final | {f'initial_{name}': gamma * value for name, value in initial.items()}
