"""Small modules of Panoptic FPN and the families built on it, and a batch for them."""

import torch

from panoptic_training.data.sample import Batch

SMALL = {'backbone': 'mobilenetv2_035', 'fpn_channels': 16, 'semantic_channels': 16,
         'box_width': 24, 'embedding_dim': 8, 'mask_widths': (16,), 'mask_size': 14,
         'proposals_per_level': 20, 'proposals': 40, 'top_k': 12, 'stride': 4}


def batch(edit=None):
    """Two images of 64 x 96 with a ball, a box, a crowd and void; or as `edit` makes them."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, 64, 96), generator=generator, dtype=torch.uint8)
    class_map = torch.zeros(2, 64, 96, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[:, 40:] = 1
    class_map[0, 10:40, 20:60], instance_map[0, 10:40, 20:60] = 2, 1
    class_map[0, 30:64, 50:80], instance_map[0, 30:64, 50:80] = 3, 2
    class_map[0, :8, 80:] = 2
    class_map[1, :20, :20] = 255
    if edit:
        edit(class_map, instance_map)
    return Batch(image, class_map, instance_map)
