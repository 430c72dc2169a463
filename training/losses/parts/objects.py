# SPDX-License-Identifier: Apache-2.0
"""Ground truth of detectors: boxes, thing classes and masks from label maps, and matching."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou, roi_align

from panoptic_ros.core.labels import VOID_ID

from .instances import Instance, find_instances

IGNORED_SHARE = 0.5
"""Boxes with more than this part of their area on void and crowds are no negatives (inferred)."""


class Objects(NamedTuple):
    """Ground-truth instances of one image."""

    box: Tensor
    """Box x1, y1, x2, y2 in px, right and bottom exclusive, (N, 4). It includes the hidden part of
    an instance, if that is known."""

    thing: Tensor
    """Index of the class among the thing classes, (N,) int64."""

    id: Tensor
    """Id in the instance map, (N,) int64."""


def find_objects(
    class_map: Tensor, instance_map: Tensor, is_thing: Tensor, hidden_map: Tensor | None = None
) -> list[Objects]:
    """Find the instances of each image of a batch that are at least partly visible.

    Args:
        class_map: class ids, VOID_ID for void, (B, H, W) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, H, W) int64.
        is_thing: which classes are things, (C,) bool.
        hidden_map: ids of the instances that the visible one hides, 0 for none, (B, L, H, W)
            int64; or None if unknown.

    Raises:
        ValueError: if the shapes of the maps differ.
    """
    layers = () if hidden_map is None else hidden_map.unbind(1)
    for maps in (instance_map, *layers):
        if class_map.ndim != 3 or maps.shape != class_map.shape:
            raise ValueError(
                'find_objects expects maps (B, H, W), got class_map '
                f'{tuple(class_map.shape)} beside {tuple(maps.shape)}'
            )
    device, classes = class_map.device, class_map.cpu()
    hidden: dict[tuple[int, int], list[Instance]] = {}
    for layer in layers:
        for instance in find_instances(layer.cpu()):
            hidden.setdefault((instance.image, instance.id), []).append(instance)
    number = torch.cumsum(is_thing.cpu().long(), 0) - 1  # index of each class among the things
    found: list[list[tuple[list[int], int, int]]] = [[] for _ in classes]
    for instance in find_instances(instance_map.cpu().masked_fill(classes == VOID_ID, 0)):
        class_id = int(classes[instance.box][instance.mask][0])
        if is_thing[class_id]:
            parts = [instance, *hidden.get((instance.image, instance.id), [])]
            found[instance.image].append(
                (
                    [
                        min(p.columns.start for p in parts),
                        min(p.rows.start for p in parts),
                        max(p.columns.stop for p in parts),
                        max(p.rows.stop for p in parts),
                    ],
                    int(number[class_id]),
                    instance.id,
                )
            )
    return [
        Objects(
            torch.tensor([o[0] for o in image], dtype=torch.float32, device=device).view(-1, 4),
            torch.tensor([o[1] for o in image], dtype=torch.int64, device=device),
            torch.tensor([o[2] for o in image], dtype=torch.int64, device=device),
        )
        for image in found
    ]


def ignored_share(boxes: Tensor, ignore: Tensor) -> Tensor:
    """Return the part of the area of each box that is to be ignored, by an integral image.

    Args:
        boxes: x1, y1, x2, y2 in px, (R, 4); they are rounded and clipped to the image here.
        ignore: pixels to ignore, see `void_or_crowd`, (H, W) bool.

    Returns:
        (R,) in [0, 1]
    """
    height, width = ignore.shape
    total = torch.nn.functional.pad(ignore.to(torch.float32).cumsum(0).cumsum(1), (1, 0, 1, 0))
    x1, x2 = (boxes[:, i].round().long().clamp(0, width) for i in (0, 2))
    y1, y2 = (boxes[:, i].round().long().clamp(0, height) for i in (1, 3))
    inside = total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]
    return inside / ((x2 - x1) * (y2 - y1)).clamp(min=1)


def match_boxes(
    boxes: Tensor, objects: Objects, ignore: Tensor, matcher: Matcher
) -> tuple[Tensor, Tensor]:
    """Assign an object or background to each box of one image.

    Args:
        boxes: x1, y1, x2, y2 in px, (R, 4).
        objects: objects of the image.
        ignore: pixels to ignore, see `void_or_crowd`, (H, W) bool. Boxes with more than
            IGNORED_SHARE of their area there are not background.
        matcher: rule that assigns objects by IoU.

    Returns:
        Targets (R,) int64: 1 for an object, 0 for background, -1 if the box does not count; and
        the row of the object of each box (R,), below 0 without an object.
    """
    if len(objects.box):
        match = matcher(box_iou(objects.box, boxes))
    else:
        match = torch.full((len(boxes),), Matcher.BELOW_LOW_THRESHOLD, device=boxes.device)
    target = torch.where(match >= 0, 1, torch.where(match == Matcher.BELOW_LOW_THRESHOLD, 0, -1))
    target[(target == 0) & (ignored_share(boxes, ignore) > IGNORED_SHARE)] = -1
    return target, match


def whole_masks(instance_map: Tensor, ids: Tensor, hidden_map: Tensor | None = None) -> Tensor:
    """Return the cells of each instance, visible or hidden.

    Args:
        instance_map: ids of one image, (H, W) int64.
        ids: ids of the instances, (N,).
        hidden_map: see `find_objects`, (L, H, W) int64, or None.

    Returns:
        (N, H, W) bool
    """
    masks = instance_map == ids[:, None, None]
    for layer in () if hidden_map is None else hidden_map:
        masks |= layer == ids[:, None, None]
    return masks


def mask_targets(
    instance_map: Tensor, ids: Tensor, boxes: Tensor, size: int, hidden_map: Tensor | None = None
) -> Tensor:
    """Make the target masks: the part of each bin of a box that an instance covers.

    Cells are sampled at their centres, as in `paste`, which writes masks back into the image.

    Args:
        instance_map: ids of one image, (H, W) int64.
        ids: id of the instance for each box, (R,).
        boxes: x1, y1, x2, y2 in px, (R, 4).
        size: bins along a side.
        hidden_map: see `find_objects`, (L, H, W) int64, or None.

    Returns:
        (R, size, size) in [0, 1]
    """
    unique_ids, row = torch.unique(ids, return_inverse=True)
    masks = whole_masks(instance_map, unique_ids, hidden_map).to(torch.float32)
    rois = torch.cat([row[:, None].to(boxes.dtype), boxes], dim=1)
    return roi_align(masks[:, None], rois, (size, size), 1.0, aligned=True)[:, 0]
