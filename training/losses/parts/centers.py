# SPDX-License-Identifier: Apache-2.0
"""Centres of instances as the network is to see them: heatmaps, offsets and what is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID

from .instances import Instance, find_instances, paint
from .label_maps import void_or_crowd

REACH = 3.0
"""Standard deviations to which a centre's Gaussian is drawn, as the released code has it."""


class CenterTargets(NamedTuple):
    """What a batch teaches; may be held against several predictions."""

    class_map: Tensor
    """(B, h, w), VOID_ID for void."""

    weight: Tensor
    """Of each pixel's class, (B, h, w)."""

    instances: list[Instance]
    """Whose centres there are to find."""

    known: Tensor
    """Pixels where it is known whether a centre is near, (B, h, w) bool."""

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
    """Targets from label maps.

    Args:
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64.
        is_thing: which classes are things, (C,) bool.
        stride: input px per cell of the maps.
        weight: of an instance's pixels as to their class; all other pixels have 1.
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
    """A Gaussian at the cell nearest to each instance's mass centre; where they meet, the higher.

    Args:
        instances: L of them.
        sigmas: standard deviation of each one's Gaussian, cells, (L,).
        channels: the map each one is drawn in, (L,).
        shape: (B, M, h, w).
        device: of the result.

    Returns:
        `shape`, 1 at the centres.
    """
    heatmap = torch.zeros(tuple(shape), device=device)
    height, width = shape[2:]
    for instance, sigma, channel in zip(instances, sigmas, channels, strict=True):
        (y, rows), (x, columns) = (
            _window(place, REACH * sigma, size)
            for place, size in zip(instance.center_yx, (height, width), strict=True)
        )
        gaussian = _bell(y, rows, sigma, device)[:, None] * _bell(x, columns, sigma, device)
        part = heatmap[instance.image, channel, rows, columns]
        torch.maximum(part, gaussian, out=part)
    return heatmap


def center_offsets(
    instances: Sequence[Instance], shape: Sequence[int], device: torch.device
) -> Tensor:
    """(dy, dx) from each instance pixel to the instance's mass centre, cells.

    Args:
        instances: L of them.
        shape: (B, h, w).
        device: of the result.

    Returns:
        (B, 2, h, w), 0 outside instances.
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
    """The nearest cell, and the cells within `radius` of it."""
    place = min(math.floor(center + 0.5), size - 1)
    reach = math.floor(radius)
    return place, slice(max(place - reach, 0), min(place + reach + 1, size))


def _bell(center: int, span: slice, sigma: float, device: torch.device) -> Tensor:
    distance = torch.arange(span.start, span.stop, device=device) - center
    return torch.exp(-distance.square() / (2 * sigma**2))
