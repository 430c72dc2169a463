# SPDX-License-Identifier: Apache-2.0
"""Instances of a batch, and means over their masks.

All operations work inside the bounding box of an instance. The cost is therefore proportional to
the area of the boxes, not to the number of instances times the area of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Instance:
    """Instance in one image of a batch; lengths in cells of the map."""

    image: int
    """Index of the image in the batch."""

    id: int
    """Id in the instance map."""

    rows: slice
    """Rows of the bounding box."""

    columns: slice
    """Columns of the bounding box."""

    mask: Tensor
    """Mask inside the bounding box, (height, width) of the box, bool."""

    count: int
    """Number of cells in the mask, at least 1."""

    center_yx: tuple[float, float]
    """Mass centre of the mask: mean row and column."""

    @property
    def box(self) -> tuple[int, Any, slice, slice]:
        """Index of the bounding box in a (B, ..., h, w) tensor."""
        return self.image, ..., self.rows, self.columns


def find_instances(instance_map: Tensor) -> list[Instance]:
    """Find the instances of a batch, ordered by image, then by id.

    Args:
        instance_map: ids from 1 up, 0 for no instance, (B, h, w) integer.

    Example:
        >>> [found] = find_instances(torch.tensor([[[0, 3, 3], [0, 3, 0]]]))
        >>> found.id, found.count, found.rows, found.columns
        (3, 3, slice(0, 2, None), slice(1, 3, None))
    """
    found = []
    for image, ids in enumerate(instance_map.cpu().numpy()):
        for i, box in enumerate(ndimage.find_objects(ids)):
            if box is None:
                continue
            mask = ids[box] == i + 1
            ys, xs = mask.sum(axis=1), mask.sum(axis=0)
            count = int(ys.sum())
            center = (
                box[0].start + float(ys @ np.arange(len(ys))) / count,
                box[1].start + float(xs @ np.arange(len(xs))) / count,
            )
            found.append(
                Instance(
                    image,
                    i + 1,
                    box[0],
                    box[1],
                    torch.from_numpy(mask).to(instance_map.device),
                    count,
                    center,
                )
            )
    return found


def instance_mean(values: Tensor, instances: Sequence[Instance]) -> Tensor:
    """Return the mean of a map over each mask.

    Args:
        values: (B, D, h, w).
        instances: L instances.

    Returns:
        (L, D), differentiable.
    """
    mean: Tensor = _InstanceMean.apply(values, instances)
    return mean


def thing_means(
    values: Tensor, instances: Sequence[Instance], clip_images: int = 1, unit: bool = True
) -> Tensor:
    """Return the mean over each mask, shared by the masks of a thing in a clip.

    Args:
        values: (B, D, h, w).
        instances: L instances.
        clip_images: number of consecutive images of the batch that show one clip, in which an id
            denotes the same thing; 1 if the images are independent.
        unit: scale the means to unit length.

    Returns:
        (L, D), differentiable. Instances of the same thing in the images of a clip have the same
        vector: the mean of those of the images.

    Raises:
        ValueError: if the batch does not consist of complete clips.
    """
    if len(values) % clip_images:
        raise ValueError(
            f'loss.clip_images must divide the batch, got {clip_images} for a batch '
            f'of {len(values)}'
        )
    mean = instance_mean(values, instances)
    if unit:
        mean = F.normalize(mean, dim=1)
    if clip_images == 1:
        return mean
    things = [(i.image // clip_images, i.id) for i in instances]
    row = {thing: n for n, thing in enumerate(dict.fromkeys(things))}
    rows = torch.tensor([row[thing] for thing in things], dtype=torch.int64, device=mean.device)
    total = mean.new_zeros(len(row), mean.shape[1]).index_add(0, rows, mean)
    shared = F.normalize(total, dim=1) if unit else total / rows.bincount()[:, None]
    return shared[rows]


def paint(values: Tensor, instances: Sequence[Instance], shape: Sequence[int]) -> Tensor:
    """Return a map with the value of each instance on its mask, 0 elsewhere.

    Args:
        values: one value per instance, (L,); receive no gradient.
        instances: L instances.
        shape: shape of the map, (B, h, w).
    """
    painted = values.new_zeros(tuple(shape))
    for value, instance in zip(values.detach(), instances, strict=True):
        box = painted[instance.box]
        torch.where(instance.mask, value, box, out=box)
    return painted


class _InstanceMean(torch.autograd.Function):
    """Mean over masks with an explicit gradient.

    The gradient that autograd derives for a slice is a zero map of the size of the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, instances: Sequence[Instance]) -> Tensor:
        ctx.instances, ctx.shape = instances, values.shape
        mean = values.new_zeros(len(instances), values.shape[1])
        for row, instance in zip(mean, instances, strict=True):
            torch.sum(values[instance.box] * instance.mask, dim=(1, 2), out=row)
            row /= instance.count
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad_values = grad.new_zeros(ctx.shape)
        for row, instance in zip(grad, ctx.instances, strict=True):
            grad_values[instance.box] += (row / instance.count)[:, None, None] * instance.mask
        return grad_values, None
