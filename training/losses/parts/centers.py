# SPDX-License-Identifier: Apache-2.0
"""Targets of centre-based families: heatmaps of instance centres and offsets to them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID

from .instances import Instance, find_instances, paint
from .label_maps import void_or_crowd

REACH = 3.0
"""Radius of a drawn Gaussian in standard deviations, as in the released code of
Panoptic-DeepLab."""


class CenterTargets(NamedTuple):
    """Targets of a batch, which may be compared with several predictions."""

    class_map: Tensor
    """Class ids, VOID_ID for void, (B, h, w) int64."""

    weight: Tensor
    """Weight of each pixel in the cross-entropy, (B, h, w)."""

    instances: list[Instance]
    """Instances whose centres are to be found."""

    known: Tensor
    """Pixels where it is known whether a centre is near: not void or crowd, (B, h, w) bool."""

    offset: Tensor
    """(dy, dx) to the centre, input px, (B, 2, h, w)."""

    inside: Tensor
    """Pixels of instances, (B, h, w) bool."""


def center_targets(
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    stride: int,
    weight: Callable[[Instance], float],
) -> CenterTargets:
    """Make the targets from label maps.

    Args:
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64.
        is_thing: which classes are things, (C,) bool.
        stride: input px per cell of the maps.
        weight: function that returns the weight of an instance's pixels in the cross-entropy; all
            other pixels have weight 1.
    """
    instance_map = instance_map.masked_fill(class_map == VOID_ID, 0)
    instances = find_instances(instance_map)
    device, shape = class_map.device, class_map.shape
    extra = torch.tensor([weight(i) - 1.0 for i in instances], device=device)
    return CenterTargets(
        class_map=class_map,
        weight=1 + paint(extra, instances, shape),
        instances=instances,
        known=~void_or_crowd(class_map, instance_map, is_thing),
        offset=center_offsets(instances, shape, device) * stride,
        inside=instance_map > 0,
    )


def center_heatmap(
    instances: Sequence[Instance],
    sigmas: Sequence[float],
    channels: Sequence[int],
    shape: Sequence[int],
    device: torch.device,
) -> Tensor:
    """Draw a Gaussian at the cell nearest to the mass centre of each instance.

    Where Gaussians overlap, the higher value counts.

    Args:
        instances: L instances.
        sigmas: standard deviation of the Gaussian of each instance, cells, (L,).
        channels: index m of the map in which each instance is drawn, (L,).
        shape: shape of the result, (B, M, h, w).
        device: device of the result.

    Returns:
        Heatmap of `shape`, 1 at the centres.
    """
    heatmap = torch.zeros(tuple(shape), device=device)
    height, width = shape[2:]
    for instance, sigma, channel in zip(instances, sigmas, channels, strict=True):
        (y, rows), (x, columns) = (
            _window(center, REACH * sigma, size)
            for center, size in zip(instance.center_yx, (height, width), strict=True)
        )
        gaussian = _gaussian(y, rows, sigma, device)[:, None] * _gaussian(
            x, columns, sigma, device
        )
        part = heatmap[instance.image, channel, rows, columns]
        torch.maximum(part, gaussian, out=part)
    return heatmap


def center_offsets(
    instances: Sequence[Instance], shape: Sequence[int], device: torch.device
) -> Tensor:
    """Return the offset (dy, dx) from each instance pixel to the mass centre of the instance.

    Args:
        instances: L instances.
        shape: shape of the label maps, (B, h, w).
        device: device of the result.

    Returns:
        Offsets in cells, (B, 2, h, w), 0 outside instances.
    """
    batch, height, width = shape
    offset = torch.zeros(batch, 2, height, width, device=device)
    for instance in instances:
        y, x = (
            center - torch.arange(span.start, span.stop, device=device)
            for center, span in zip(
                instance.center_yx, (instance.rows, instance.columns), strict=True
            )
        )
        part = offset[instance.box]
        part[0] = torch.where(instance.mask, y[:, None], part[0])
        part[1] = torch.where(instance.mask, x, part[1])
    return offset


def _window(center: float, radius: float, size: int) -> tuple[int, slice]:
    """Return the cell nearest to `center` and the range of cells within `radius` of it."""
    nearest = min(math.floor(center + 0.5), size - 1)
    reach = math.floor(radius)
    return nearest, slice(max(nearest - reach, 0), min(nearest + reach + 1, size))


def _gaussian(center: int, span: slice, sigma: float, device: torch.device) -> Tensor:
    """Return a Gaussian of height 1 at the cells of `span`."""
    distance = torch.arange(span.start, span.stop, device=device) - center
    return torch.exp(-distance.square() / (2 * sigma**2))
