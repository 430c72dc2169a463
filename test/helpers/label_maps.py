# SPDX-License-Identifier: Apache-2.0
"""Label maps with every edge case on a few cells, for the tests of losses."""

import torch

from panoptic_training.data.sample import Batch

VOID = 255
IS_THING = torch.tensor([False, False, True, True])


def labels():
    """Return 6 x 8 images: one with border things, one pixel, crowd and void; one of stuff."""
    class_map = torch.zeros(2, 6, 8, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[:, 3:] = 1
    for i, (rows, columns, class_id) in enumerate(
        (
            (slice(0, 3), slice(0, 3), 2),  # in the corner
            (slice(2, 6), slice(4, 6), 2),  # same class
            (slice(4, 5), slice(1, 2), 3),
        )
    ):  # one pixel
        class_map[0, rows, columns], instance_map[0, rows, columns] = class_id, i + 1
    class_map[0, 0:2, 6:] = 3  # crowd: a thing class without instance
    class_map[:, 5, 0:3] = VOID
    return class_map, instance_map


def street(edit=None):
    """Return two images of 64 x 96: one with a box, a ball in front, crowd and void; one of stuff.

    Args:
        edit: function that changes class_map and instance_map in place.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, 64, 96), generator=generator, dtype=torch.uint8)
    class_map = torch.zeros(2, 64, 96, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[:, 40:] = 1
    class_map[0, 10:40, 20:60], instance_map[0, 10:40, 20:60] = 2, 1
    class_map[0, 20:64, 44:80], instance_map[0, 20:64, 44:80] = 3, 2
    class_map[0, :8, 80:] = 2
    class_map[1, :20, :20] = VOID
    if edit:
        edit(class_map, instance_map)
    return Batch(image, class_map, instance_map)
