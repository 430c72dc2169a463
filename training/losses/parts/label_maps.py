# SPDX-License-Identifier: Apache-2.0
"""Lookups in label maps that several losses share."""

from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID


def by_class(values: Tensor, class_map: Tensor, void: int | bool) -> Tensor:
    """Look up a value of the class of each pixel.

    Args:
        values: one value per class, (C,).
        class_map: class ids, VOID_ID for void, (...) int64.
        void: value of void pixels.

    Returns:
        Map in the shape of `class_map`, with the type of `values`.
    """
    return F.pad(values, (0, VOID_ID + 1 - len(values)), value=void)[class_map]


def void_or_crowd(class_map: Tensor, instance_map: Tensor, is_thing: Tensor) -> Tensor:
    """Return the pixels of which no instance is known: void, and things without an instance.

    Args:
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64.
        is_thing: which classes are things, (C,) bool.

    Returns:
        (B, h, w) bool
    """
    thing = by_class(is_thing, class_map, False)
    return (class_map == VOID_ID) | (thing & (instance_map == 0))
