# SPDX-License-Identifier: Apache-2.0
"""Sums of embeddings by class over a batch, from which class means are made."""

import torch
from torch import Tensor

from panoptic_ros.models.parts.precision import at_least_float32

from .processes import sum_over_processes


@torch.no_grad()
def class_sums(embedding: Tensor, class_map: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum the embeddings of each class and count its pixels, in float32 or better.

    Args:
        embedding: (B, D, h, w).
        class_map: 0 to classes - 1, (B, h, w); pixels with other ids are left out.
        classes: C.

    Returns:
        Sums (C, D) and counts (C,), without gradient. With torch.distributed, they cover the
        batches of all processes.
    """
    embedding = at_least_float32(embedding)
    number = torch.arange(classes, device=class_map.device)
    total = embedding.new_zeros(classes, embedding.shape[1])
    count = embedding.new_zeros(classes)
    with torch.autocast(embedding.device.type, enabled=False):  # sums overflow in half precision
        for image, ids in zip(embedding, class_map, strict=True):
            member = (ids.flatten() == number[:, None]).to(image.dtype)  # (C, N)
            total += member @ image.flatten(1).T
            count += member.sum(dim=1)
    sum_over_processes(total, count)
    return total, count
