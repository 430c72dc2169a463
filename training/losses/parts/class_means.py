# SPDX-License-Identifier: Apache-2.0
"""Classes in HLE's embedding space: psi, L_seg and L_segmean."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.models.parts.precision import at_least_float32

from .processes import sum_over_processes


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
