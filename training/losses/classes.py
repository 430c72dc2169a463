# SPDX-License-Identifier: Apache-2.0
"""Classes in HLE's embedding space: psi, L_seg and L_segmean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.parts.precision import at_least_float32

from .kernel import bounded_sigma, sharpness
from .processes import sum_over_processes


def class_logits(embedding: Tensor, semantic_mean: Tensor, semantic_log_sigma: Tensor) -> Tensor:
    """Logits whose softmax over C is psi, equation 9: -d(e, mu_k) / (2 sigma_k^2).

    Args:
        embedding: unit length over D, (B, D, h, w).
        semantic_mean: unit rows, (C, D).
        semantic_log_sigma: (C,).

    Returns:
        (B, C, h, w)
    """
    # As one batched product: `@` would copy the maps to fold the batch away, at 4 times the cost.
    s = sharpness(bounded_sigma(semantic_log_sigma))[:, None]
    weight = (semantic_mean * s).expand(len(embedding), -1, -1)  # (B, C, D)
    logits = torch.baddbmm(-s, weight, embedding.flatten(2))
    return logits.unflatten(2, embedding.shape[2:])


def segment_mean_loss(semantic_mean: Tensor, embedding: Tensor, class_map: Tensor) -> Tensor:
    """Squared distance of the class means to those of the batch, equation 15.

    Args:
        semantic_mean: (C, D).
        embedding: (B, D, h, w); no gradient flows to it.
        class_map: (B, h, w), VOID_ID for void. With torch.distributed, the batch is that of
            all processes.

    Returns:
        Scalar: mean over the classes present; 0 with zero gradient without any.
    """
    total, count = class_sums(embedding, class_map, len(semantic_mean))
    batch_mean = total / count.clamp(min=1)[:, None]
    squared = (semantic_mean - batch_mean).square().sum(dim=1) * (count > 0)
    return squared.sum() / (count > 0).sum().clamp(min=1)


@torch.no_grad()
def class_sums(embedding: Tensor, class_map: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum of the embeddings of each class, and their number; float32 at least, under autocast too.

    Args:
        embedding: (B, D, h, w).
        class_map: 0 to classes - 1, others are left out, (B, h, w). With torch.distributed, the
            batch is that of all processes.
        classes: C.

    Returns:
        (C, D) and (C,), without gradient.
    """
    embedding = at_least_float32(embedding)
    number = torch.arange(classes, device=class_map.device)
    total = embedding.new_zeros(classes, embedding.shape[1])
    count = embedding.new_zeros(classes)
    with torch.autocast(embedding.device.type, enabled=False):  # half of it overflows
        for image, ids in zip(embedding, class_map, strict=True):
            member = (ids.flatten() == number[:, None]).to(image.dtype)  # (C, N)
            total += member @ image.flatten(1).T
            count += member.sum(dim=1)
    sum_over_processes(total, count)
    return total, count


def mean_cross_entropy(logits: Tensor, class_map: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, C, h, w) over the pixels not void, 0 without any."""
    total = F.cross_entropy(logits, class_map, ignore_index=VOID_ID, reduction='sum')
    return total / (class_map != VOID_ID).sum().clamp(min=1)
