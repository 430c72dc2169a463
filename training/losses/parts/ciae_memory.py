# SPDX-License-Identifier: Apache-2.0
"""Triplet loss of CIAE between pixels and queries, and the memory of the class embeddings.

Gao et al., Learning Category- and Instance-Aware Pixel Embedding for Fast Panoptic Segmentation,
2020, sections III-B and III-C.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.models.config import NEVER

from .checks import check_dims


def memory_loss(
    similarity: Tensor, own: Tensor, margin: float, hardest: int, log_floor: float = 1e-6
) -> Tensor:
    """Compute each pixel's loss against its hardest queries, equations 5 to 9.

    With D = 1 - similarity: d_pos = D(own), d_neg = D(k), and 0 for the own query;
    l' = max(d_pos - d_neg + margin, 0); l = -log(1 - l' / (2 + margin)). The own query's l' is
    the largest, so the `hardest` queries are the own one and the most similar others.

    Args:
        similarity: cosine of each pixel to each query, (N, Q).
        own: index of each pixel's own query, (N,) int64.
        margin: distance by which the other queries must be farther away than the own one.
        hardest: K, number of queries that count for a pixel, at least 1 (chosen per pixel:
            inferred).
        log_floor: lower bound of the argument of the logarithm (inferred).

    Returns:
        Sum of l over the K queries, (N,).

    Raises:
        ValueError: if the shapes do not fit together.
    """
    check_dims('memory_loss', 'similarity (N, Q) and own (N,)', similarity, own)
    d_pos = 1 - similarity.gather(1, own[:, None])  # (N, 1)
    others = similarity.scatter(1, own[:, None], NEVER)
    hard = others.topk(min(hardest - 1, others.shape[1]), dim=1).values  # (N, K - 1)
    excess = torch.cat([d_pos + margin, (d_pos - (1 - hard) + margin).relu()], dim=1)
    return -(1 - excess / (2 + margin)).clamp(min=log_floor).log().sum(dim=1)


def memory_momentum(progress: float | Tensor, start: float) -> float | Tensor:
    """Compute the momentum of the memory, equation 13: 1 - (1 - start) * (1 - t / T)^3.

    Args:
        progress: t / T, completed part of the training, 0 to 1.
        start: momentum at the first step; 0.9999 in the paper.

    Example:
        >>> memory_momentum(0.0, 0.75), memory_momentum(1.0, 0.75)
        (0.75, 1.0)
    """
    return 1 - (1 - start) * (1 - progress) ** 3


@torch.no_grad()
def update_memory(memory: Tensor, total: Tensor, count: Tensor, momentum: float | Tensor) -> None:
    """Move the memory towards the mean directions of the batch, in place, equations 3 and 14.

    Args:
        memory: unit rows, (M, D).
        total: sum of the embeddings of each row's pixels before normalisation, (M, D).
        count: number of those pixels, (M,). Rows without pixels stay unchanged. So do rows whose
            sum is not finite, because the memory would never recover.
        momentum: weight of the present memory, 0 to 1.
    """
    moved = F.normalize(momentum * memory + (1 - momentum) * F.normalize(total, dim=1), dim=1)
    usable = (count > 0) & total.isfinite().all(dim=1)
    memory.copy_(torch.where(usable[:, None], moved, memory))
